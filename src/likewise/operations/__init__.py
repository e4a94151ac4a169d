"""Operations: what can be done with files of weights without training: convert, merge, extract, resize, compare, place.

Functions take and give artifacts and whole models; how files spell them is the business of `formats`.
"""
