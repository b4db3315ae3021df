// The child that meets what comes from outside: a git server's bytes or the tar of an upload. Run as `/proc/self/exe
// helper fetch …`.
#pragma once

namespace wick::build {

/// argv[0] is "fetch":
///   fetch git FOLDER REPOSITORY URL REF BYTES_MAX [--allow-local]
///       the tree of REF into FOLDER, its objects into REPOSITORY; credentials come on standard input
///   fetch archive FOLDER BYTES_MAX
///       the tar on standard input into FOLDER
///   fetch images FOLDER NAME
///       the images of the archive on standard input, or the one called NAME, into a layout below FOLDER
///   fetch registry-resolve | fetch registry-pull FOLDER | fetch registry-push FOLDER NAME
///       an errand at a registry (registries.hpp), which comes on standard input
/// FOLDER and REPOSITORY exist, are empty, and lie beside each other. Standard output has one line an event
/// (src/build/fetch_events.hpp). 0 when all went well. Gives up what it can first: capabilities, new privileges, other
/// folders (Landlock), memory and file size.
int fetch_main(int argc, char** argv);

}  // namespace wick::build
