"""The command that serves the studio."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from likewise.cli import terminal
from likewise.cli.app import app
from likewise.local import HOST, PORT


@app.command()
def studio(
    root: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where concepts, runs and comparisons lie; else here.")
    ] = Path(),
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="0 is any free one.")] = PORT,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Of this machine; others need --token.")
    ] = HOST,
    token: Annotated[
        str | None, typer.Option(metavar="TEXT", help="A token of your own, 16 letters at least.")
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Teach, watch, compare and choose on a page of this machine.

    Everything that the page does is done by the commands of likewise, in processes that live on when the page or this
    command ends. What lies below the folder is all that the page knows.

    \b
    Example:
      likewise studio --open
      likewise studio --root ~/likewise
    """
    from likewise.local.server import Server
    from likewise.studio.app import STREAMS, Studio
    from likewise.studio.app import app as pages

    made = Studio(root)
    server = Server(pages(made), host=host, port=port, token=token, streams=STREAMS, cookie=made.cookie)
    terminal.say(
        f"the studio of {terminal.short(made.root.folder)}; Ctrl-C ends it, and what is at work goes on"
    )
    terminal.result(server.address)
    if open_page:
        import webbrowser

        webbrowser.open(server.address)
    try:
        server.run()
    except KeyboardInterrupt:
        terminal.say("\nthe page is closed; what is at work goes on")
