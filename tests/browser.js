// What browser.py asks of a page: set in every page before its own scripts run.
(() => {
    /** How many colours a picture has; 0 where it can't be shown. */
    const colours = async picture => {
        await picture.decode().catch(() => null);
        const [width, height] = [picture.naturalWidth, picture.naturalHeight];
        if (!width || !height) return 0;
        const canvas = Object.assign(document.createElement("canvas"), {width, height}).getContext("2d");
        canvas.drawImage(picture, 0, 0);
        return new Set(new Uint32Array(canvas.getImageData(0, 0, width, height).data.buffer)).size;
    };

    /** [part of a widget, what it needs, what it has] where it holds more than it has room for. The output around it counts. */
    const clipped = box => [box.closest(".jp-OutputArea-output"), box,
        ...box.querySelectorAll(".jupyter-widgets, .widget-label, .widget-readout, .jupyter-button")]
        .filter(part => part.offsetParent && getComputedStyle(part).display != "inline" && part.scrollWidth > part.clientWidth + 1)
        .map(part => [`${part.className}: ${part.innerText.slice(0, 40)}`, part.scrollWidth, part.clientWidth]);

    const linear = c => c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4;
    const luminance = rgb => 0.2126 * linear(rgb[0]) + 0.7152 * linear(rgb[1]) + 0.0722 * linear(rgb[2]);
    const numbers = colour => colour.match(/[\d.]+/g).map(Number);
    const background = part => {
        for (; part; part = part.parentElement) {
            const colour = numbers(getComputedStyle(part).backgroundColor);
            if (colour.length < 4 || colour[3] == 1) return colour;
        }
        return [255, 255, 255];
    };

    /** [text, WCAG 2's contrast with what lies under it] of each text in a widget; disabled controls don't count. */
    const contrasts = box => [...box.querySelectorAll(".widget-label, .widget-readout, .jupyter-button, .widget-html-content, pre, select")]
        .filter(part => part.offsetParent && part.innerText.trim() && !part.disabled)
        .map(part => {
            const [low, high] = [numbers(getComputedStyle(part).color), background(part)].map(luminance).sort((x, y) => x - y);
            return [part.innerText.slice(0, 30), (high + 0.05) / (low + 0.05)];
        });

    const seen = new WeakMap();
    /** Whether a part of the page, asked once a frame, has kept its layout for so many frames: every picture in it
        loaded, no transition under way. */
    const steady = ([part, frames]) => {
        const inner = [part, ...part.querySelectorAll("*")];
        const now = JSON.stringify(inner.map(one => one.getBoundingClientRect()));
        const ends = part.getAnimations({subtree: true}).map(move => move.effect.getComputedTiming().endTime);
        const busy = ends.some(isFinite) || inner.some(one => one.complete === false);
        const [before, same] = seen.get(part) ?? [null, 0];
        seen.set(part, [now, now == before && !busy ? same + 1 : 0]);
        return seen.get(part)[1] >= frames && seen.delete(part);
    };

    /** Whether a picture is whole, and its words (in which {} stands for a readout) are those of the readout now. */
    const drawn = ([picture, readout, words]) => picture.complete && picture.naturalWidth > 0
        && picture.title.includes(words.replace("{}", readout.textContent));

    /** Keep when a key last went down on a slider's knob, and when a picture was last loaded, in milliseconds. */
    const watch = ([knob, picture]) => {
        course.pressed = course.loaded = 0;
        knob.addEventListener("keydown", () => { course.pressed = performance.now(); }, true);
        picture.addEventListener("load", () => { course.loaded = performance.now(); });
    };

    /** The SHA-256 of what a picture shows. */
    const digest = async picture => {
        const shown = await (await fetch(picture.src)).arrayBuffer();
        const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", shown));
        return [...bytes].map(byte => byte.toString(16).padStart(2, "0")).join("");
    };

    /** Keep what becomes of a kernel: course.statuses. */
    const follow = kernel => {
        course.statuses = [];
        kernel.statusChanged.connect((_, status) => course.statuses.push(status));
    };

    window.course = {colours, clipped, contrasts, steady, drawn, watch, digest, follow};
})();
