#!/usr/bin/env python3
"""embed.py OUT NAMESPACE FILE...: a C++ source with the files' bytes as `const std::span<const EmbeddedFile> NAMESPACE::files()`.

The declarations are in src/app/embedded.hpp.
"""
import pathlib
import sys

out, name, *paths = sys.argv[1:]
parts = ['#include "app/embedded.hpp"\n\nnamespace wick::app {\n\nnamespace {\n']
for number, path in enumerate(paths):
    data = pathlib.Path(path).read_bytes()
    lines = [", ".join(str(b) for b in data[i:i + 24]) for i in range(0, len(data), 24)]
    parts.append(f"constexpr unsigned char file_{number}[] = {{\n" + ",\n".join(lines or ["0"]) + "};\n")
parts.append("const EmbeddedFile all[] = {\n")
for number, path in enumerate(paths):
    size = pathlib.Path(path).stat().st_size
    parts.append(f'    {{"{pathlib.Path(path).name}", {{reinterpret_cast<const char*>(file_{number}), {size}}}}},\n')
parts.append("};\n}  // namespace\n\nstd::span<const EmbeddedFile> " + name + "() { return all; }\n\n}  // namespace wick::app\n")
pathlib.Path(out).write_text("".join(parts))
