"""Studio: the local web page where people teach, watch, compare and choose. No torch, and nothing that trains.

All that it shows is read from folders below one root, and all that it does is done by the same commands that people type,
as processes of their own (`work`). A screen is one file of `screens/`, with its template and its script. Who may ask at all
is settled in `likewise.local`.
"""
