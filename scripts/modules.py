#!/usr/bin/env python3
"""Finds circles among the modules of src: a module is a file, and it depends on every file whose items its paths name.

A path is followed through `pub use` to the file that defines its item, so that a re-export hides no circle. Declarations (`mod x;`),
re-exports themselves and tests do not count: a room's front door depends on nothing.

  scripts/modules.py            prints the circles, if any, and fails then
  scripts/modules.py --floors   prints the modules by floor: each depends on lower ones alone
"""
import re
import sys
from pathlib import Path

SRC = Path(__file__).resolve().parent.parent / "src"
NAME = r"[A-Za-z_]\w*"


def module_of(file):
    parts = file.relative_to(SRC).with_suffix("").parts
    return tuple(p for p in parts if p not in ("mod", "lib"))


def without_tests(text):
    text = re.sub(r"//[^\n]*", "", text)
    return re.split(r"#\[cfg\(test\)\]\s*(?:pub(?:\([a-z]+\))? )?mod \w+ \{", text)[0]


def paths(tree, prefix=()):
    """The paths of a use tree: `a::{b, c::d}` is `a::b` and `a::c::d`."""
    tree = tree.strip()
    if tree.startswith("{"):
        depth, start, inner = 0, 1, tree[1 : tree.rindex("}")] + ","
        for at, char in enumerate(inner):
            depth += (char == "{") - (char == "}")
            if char == "," and depth == 0:
                yield from paths(inner[start - 1 : at], prefix)
                start = at + 2
        return
    head = re.match(rf"({NAME}|\*)\s*(::)?", tree)
    if not head:
        return
    here = prefix if head[1] == "self" and prefix else (*prefix, head[1])
    yield from paths(tree[head.end() :], here) if head[2] else [here]


files = {module_of(f): without_tests(f.read_text()) for f in SRC.rglob("*.rs") if f.name != "main.rs"}


def absolute(path, module):
    """From `crate::`, `self::`, `super::` or a child's name to a path from the root."""
    if path[0] == "crate":
        return path[1:]
    while path and path[0] in ("self", "super"):
        module, path = module[: len(module) - (path[0] == "super")], path[1:]
    return module + path


exports = {}
for module, text in files.items():
    for tree in re.findall(r"pub(?:\([a-z]+\))? use ([^;]+);", text):
        for path in paths(tree):
            exports[(*module, path[-1])] = absolute(path, module)


def defining(path):
    """The file that defines what a path names."""
    for _ in range(9):
        known = next((path[:n] for n in range(len(path), 0, -1) if path[:n] in exports), None)
        if known is None:
            break
        path = exports[known] + path[len(known) :]
    return next((path[:n] for n in range(len(path), 0, -1) if path[:n] in files), None)


def depends(module, text):
    text = re.sub(r"pub(?:\([a-z]+\))? use [^;]+;", "", text)
    local = lambda path: path[0] in ("crate", "self", "super") or (*module, path[0]) in files
    found, imported = set(), {}
    for tree in re.findall(r"\buse ([^;]+);", text):
        for path in filter(local, paths(tree)):
            found.add(absolute(path, module))
            imported[path[-1]] = absolute(path, module)
    named = rf"(?<!:)\b((?:crate|self|super|{NAME})(?:::{NAME})+)"
    for path in re.findall(named, re.sub(r"\buse [^;]+;", "", text)):
        path = tuple(path.split("::"))
        if path[0] in imported:
            found.add(imported[path[0]] + path[1:])
        elif local(path):
            found.add(absolute(path, module))
    return {d for d in map(defining, found) if d is not None and d != module and d != ()}


graph = {module: depends(module, text) for module, text in files.items() if module}


def circles():
    """Strongly connected modules (Tarjan)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


bad = circles()
for group in bad:
    print("modules: a circle of " + ", ".join("::".join(m) for m in group), file=sys.stderr)
    for module in group:
        for other in sorted(graph[module] & set(group)):
            print(f"  {'::'.join(module)} -> {'::'.join(other)}", file=sys.stderr)
if bad:
    sys.exit(1)
if "--floors" in sys.argv:
    floor = {}

    def height(module):
        if module not in floor:
            floor[module] = 1 + max((height(d) for d in graph[module]), default=0)
        return floor[module]

    for module in graph:
        height(module)
    for level in sorted(set(floor.values()), reverse=True):
        print(f"{level:2}  " + "  ".join(sorted("::".join(m) for m in graph if floor[m] == level)))
else:
    print(f"modules: {len(graph)}, no circle")
