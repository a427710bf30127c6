import pytest

from clrlib.lab import profiles


@pytest.fixture
def nvidia_smi(monkeypatch, tmp_path):
    """Put an nvidia-smi of a few shell lines on an otherwise empty PATH."""

    def put(script):
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return put


@pytest.mark.parametrize("name", profiles.PROFILES)
def test_the_environment_chooses(name, monkeypatch):
    monkeypatch.setenv("CLR_PROFILE", name)
    assert profiles.current().name == name == profiles.PROFILES[name].name


@pytest.mark.parametrize("name", ["fast", "GPU", "laptop "[:-1] + "s", "../smoke"])
def test_an_unknown_profile_is_named_with_the_choices(name, monkeypatch):
    monkeypatch.setenv("CLR_PROFILE", name)
    with pytest.raises(ValueError, match=f"CLR_PROFILE='{name}' is unknown: set it to smoke, laptop, gpu"):
        profiles.current()


@pytest.mark.parametrize("name", [None, "", "  "])
def test_unset_without_a_gpu_it_is_laptop(name, nvidia_smi, monkeypatch):
    if name is not None:
        monkeypatch.setenv("CLR_PROFILE", name)
    assert profiles.current().name == "laptop"


@pytest.mark.parametrize(
    "script, visible, expected",
    [
        ("echo 'GPU 0: NVIDIA H100'", None, "gpu"),
        ("echo 'GPU 0: NVIDIA H100'", "0", "gpu"),
        ("echo 'GPU 0: NVIDIA H100'", "", "laptop"),
        ("echo 'GPU 0: NVIDIA H100'", "-1", "laptop"),
        ("echo 'GPU: driver not loaded' && exit 9", None, "laptop"),
        ("echo 'No devices were found'", None, "laptop"),
    ],
)
def test_unset_it_asks_the_driver(script, visible, expected, nvidia_smi, monkeypatch):
    nvidia_smi(script)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert profiles.current().name == expected


def test_a_driver_that_cannot_be_run_is_no_gpu(nvidia_smi, tmp_path):
    nvidia_smi("echo GPU 0")
    (tmp_path / "nvidia-smi").write_bytes(b"\x7fELF not a program")
    assert profiles.current().name == "laptop"


def test_the_set_up_line_says_how_to_change_it(monkeypatch, capsys):
    monkeypatch.setenv("CLR_PROFILE", "smoke")
    assert profiles.start() is profiles.PROFILES["smoke"]
    assert capsys.readouterr().out == (
        "Profile smoke: seconds: enough to see that every cell runs. Set CLR_PROFILE to laptop or gpu for another budget.\n"
    )
