"""Results as tables."""


def frame(result, name):
    """A row a number, the axes of the array as the index, a column an array of these axes."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError("to_pandas needs pandas; install it: pip install pandas") from error
    shape, axes = result[name].shape, result.axes_of(name)
    alike = [k for k in result.keys() if result.axes_of(k) == axes and result[k].shape == shape]
    index = pandas.MultiIndex.from_product([range(n) for n in shape], names=axes)
    columns = {k: result[k].ravel() for k in [name] + [k for k in alike if k != name]}
    return pandas.DataFrame(columns, index=index)
