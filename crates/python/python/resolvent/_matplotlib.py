"""Draws results with matplotlib, for your own figures. `Result.svg` has the figures of this project."""

# The array to draw by default, if it is not the main array of the analysis.
_SHOWN = {
    "run": "logits",
    "sensitivity": "norm",
    "green": "norm",
    "slice": "singular_values",
    "invert": "relative",
}
# Signed quantities are white at zero.
_SIGNED = ("effect", "first_order", "fraction", "directional", "logits")


def draw(result, name, ax):
    """Draws an array of one or two axes and returns the matplotlib axes."""
    try:
        import matplotlib.pyplot as pyplot
    except ImportError as error:
        raise ImportError("plot needs matplotlib; install it: pip install matplotlib") from error
    shown = _SHOWN.get(result.analysis)
    name = name or (shown if shown in result else result.name)
    array, axes = result[name], result.axes_of(name)
    if array.ndim > 2 and axes[:-1] != ("block", "head"):
        raise ValueError(f"`{name}` has the axes {', '.join(axes)}; choose an array of one or two axes to plot")
    if ax is None:
        _, ax = pyplot.subplots()
    if axes == ("site", "amplitude"):
        _amplitudes(result, name, ax)
    elif array.ndim == 3:
        _heads(result, name, ax)
    elif array.ndim == 2:
        _map(result[name], axes, result, name, ax)
    else:
        ax.bar(range(len(array)), array)
        ax.set_xlabel(axes[0])
        ax.set_ylabel(name)
    ax.set_title(f"{result.analysis}: {name}")
    return ax


def _heads(result, name, ax):
    """Draws an array over blocks, heads and tokens: a row for each head, named `block.head`."""
    array, across = result[name], result.axes_of(name)[2]
    blocks, heads, columns = array.shape
    _map(array.reshape(-1, columns), ("head", across), result, name, ax)
    # As many names as there is room for.
    step = -(-blocks * heads // 48)
    rows = range(0, blocks * heads, step)
    ax.set_yticks(rows, [f"{row // heads}.{row % heads}" for row in rows])


def _map(array, axes, result, name, ax):
    down, across = axes
    options = {"origin": "lower", "aspect": "auto"}
    if name.split(".")[0] in _SIGNED:
        limit = float(abs(array).max()) or 1.0
        options.update(cmap="RdBu_r", vmin=-limit, vmax=limit)
    image = ax.imshow(array, **options)
    ax.figure.colorbar(image, ax=ax)
    ax.set_ylabel(down)
    ax.set_xlabel(across)
    if across == "token" and len(result.str_tokens) == array.shape[1]:
        ax.set_xticks(range(array.shape[1]), result.str_tokens, rotation=90)


def _amplitudes(result, name, ax):
    for site, errors in zip(result["sites"].astype(int), result[name]):
        ax.plot(result["amplitudes"], errors, marker="o", label=f"h[{site[0]},{site[1]}]")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("amplitude")
    ax.set_ylabel(name)
    if len(result["sites"]) <= 10:
        ax.legend()
