"""What the benchmarks count, against a count by hand. Their timings are printed, and asserted nowhere."""

from bench_gpu import per_image
from torch import nn


def test_bytes_and_operations_of_an_image_are_those_counted_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16 * 16, 10))
    moved = 2 * 3 * (3 * 32 * 32 + 4 * 16 * 16) + 2 * 3 * (1024 + 10)
    computed = 6 * (4 * 16 * 16 * 27) + 6 * 10 * 1024
    assert per_image(model) == (moved, computed)
