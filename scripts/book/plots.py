"""Plots of what the demos printed, drawn by gnuplot as SVG. Nothing is measured for them."""

import subprocess

import figures

COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"]  # which colour-blind people can tell apart


def draw(demos, folder):
    """Draws a plot for each demo that has one, and gives for its name the Markdown that shows it."""
    by_name = {demo.name: demo for demo in demos}
    drawn = {}
    for name, plot in PLOTS.items():
        demo = by_name[name]
        if demo.shown.code == 0:
            script, what = plot(demo, by_name)
            file = folder / f"{name}.svg"
            gnuplot(script, file)
            drawn[name] = f"![{what}](plots/{name}.svg)\n\n{CAPTIONS.get(name, '')}\n"
    return drawn


def gnuplot(script, file):
    setup = (
        "set encoding utf8\n"
        "set terminal svg size 600,380 font 'sans-serif,16' background 'white'\n"
        "set border 3; set tics nomirror\n"
    )
    with file.open("w") as output:
        subprocess.run(["gnuplot"], input=setup + script, text=True, stdout=output, check=True)


def data(rows):
    """A block of data for gnuplot's "-"; text in quotes."""
    lines = []
    for row in rows:
        lines.append(" ".join(f'"{cell}"' if isinstance(cell, str) else str(cell) for cell in row))
    return "\n".join([*lines, "e", ""])


def nice_priority(demo, _):
    rows = []
    for recording in [demo.shown, *demo.tried]:
        if recording.code == 0:
            nicer = figures.shares(recording.text)[-1]
            rows.append(nicer)
    rows.sort()
    script = "set style data histograms\nset style histogram clustered gap 1\nset style fill solid 1 noborder\n"
    script += "set xlabel 'nice value of the second child; that of the first is 0'\n"
    script += "set ylabel 'its share of the CPU, %'\nset yrange [0:60]\nset grid ytics\nset key top right\n"
    script += "plot '-' using 2:xtic(1) title 'predicted by the weights' lc rgb '#bbbbbb', "
    script += f"'-' using 3 title 'measured' lc rgb '{COLOURS[0]}'\n" + data(rows) * 2
    what = "; ".join(f"nice {nice}: {predicted} %, {measured} %" for nice, predicted, measured in rows)
    return script, f"share of the CPU, predicted and measured: {what}"


def speed_up(_, by_name):
    """Three demos in one picture: threads that compute, and threads that wait."""
    series = {
        "embarrassingly-parallel": "bootstrap: computes",
        "openmp-reduction": "OpenMP: computes",
        "blocking-operations": "requests: wait",
    }
    script = "set xlabel 'threads'\nset ylabel 'times as fast as one thread'\nset key top left\n"
    script += "set grid\n"
    curves = ["x title 'as many times as threads' dashtype 2 lc rgb '#888888'"]
    blocks = ""
    said = []
    most = 1
    # Points that fall together are seen around each other.
    for colour, size, (name, title) in zip(COLOURS, [2.2, 1.5, 0.8], series.items()):
        points = {1: 1.0}
        for recording in [by_name[name].shown, *by_name[name].tried]:
            same_but_threads = recording is by_name[name].shown or "-- --threads" in recording.command
            if recording.code == 0 and same_but_threads:
                points.update(figures.speed_ups(name, recording.text))
        most = max(most, *points, *points.values())
        curves.append(f"'-' using 1:2 title '{title}' with points pt 7 ps {size} lc rgb '{colour}'")
        blocks += data(sorted(points.items()))
        said.append(f"{title}, {max(points)} threads, {points[max(points)]} times")
    script += f"set xrange [0.8:{most + 0.4}]\nset yrange [0:{most + 1}]\n"
    script += "plot " + ", ".join(curves) + "\n" + blocks
    return script, "speed-up by threads: " + "; ".join(said)


CAPTIONS = {
    "nice-priority": "Drawn from this run and those of the Try lines.",
    "embarrassingly-parallel": "Drawn from what [embarrassingly-parallel](embarrassingly-parallel.md), "
    "[openmp-reduction](openmp-reduction.md) and [blocking-operations](blocking-operations.md) printed.",
}

PLOTS = {
    "nice-priority": nice_priority,
    "embarrassingly-parallel": speed_up,
}
