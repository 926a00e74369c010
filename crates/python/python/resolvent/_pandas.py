"""Results as tables."""


def frame(result, name):
    """Returns a table with one row per element, the axes as its index, and one column per array with these axes."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError("to_pandas needs pandas; install it: pip install pandas") from error
    shape, axes = result[name].shape, result.axes_of(name)
    alike = [k for k in result.keys() if result.axes_of(k) == axes and result[k].shape == shape]
    index = pandas.MultiIndex.from_product([range(n) for n in shape], names=axes)
    columns = {k: result[k].ravel() for k in [name] + [k for k in alike if k != name]}
    return pandas.DataFrame(columns, index=index)
