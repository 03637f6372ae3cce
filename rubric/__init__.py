"""What we know: the words, the rubric, its lint and its figures. Pure: values in, values out."""
