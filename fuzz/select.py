"""The few inputs that together reach the most: select.py CONTROL-FILE FOLDER FILES BYTES.

CONTROL-FILE is what libFuzzer's `-set_cover_merge=1 -merge_control_file=…` leaves: the names of all inputs, and for each the
features that it reaches, edges of the program. The one that adds most is taken first, of those that fit into what is left of FILES and BYTES.
"""

import hashlib
import pathlib
import sys


def main():
    control, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    files, room = int(sys.argv[3]), int(sys.argv[4])
    lines = control.read_text().splitlines()
    names = lines[2 : 2 + int(lines[0])]
    reached = {}
    for line in lines[2 + len(names) :]:
        kind, index, *features = line.split()
        if kind == "FT":
            # A feature is an edge and how often it was taken, in one of eight steps.
            reached[names[int(index)]] = {int(feature) // 8 for feature in features}
    size = {name: pathlib.Path(name).stat().st_size for name in reached}
    missing = set().union(*reached.values())
    while files and missing:
        fitting = [name for name in reached if size[name] <= room]
        best = max(fitting, key=lambda name: (len(reached[name] & missing), -size[name], name), default=None)
        if best is None or not reached[best] & missing:
            break
        content = pathlib.Path(best).read_bytes()
        (folder / hashlib.sha1(content).hexdigest()).write_bytes(content)
        missing -= reached.pop(best)
        files, room = files - 1, room - size[best]


main()
