// The files of a Secret or ConfigMap in their folder, laid out as the kubelet does (pkg/volume/util/atomic_writer.go):
// a reader sees the files of one moment, all of them, and what watches the folder sees one rename.
//
//   ..2026_11_27_04_21_27.000000001/key       the files of one moment, never touched again
//   ..data  -> ..2026_11_27_04_21_27.000000001 replaced by a rename
//   key     -> ..data/key                      made when a key comes, taken away after it has gone
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "wick/container/runner.hpp"

namespace wick::container {

/// Makes `files` the ones of `folder`, where nobody else writes; all of it belongs to `root`. Does nothing where they
/// are that already. Whoever has an old file open keeps it. Errors: io; what was there stays.
Result<void> publish_files(const std::filesystem::path& folder, const std::vector<VolumeFile>& files, uid_t root);

/// Folders of `relative` that are missing below `top`, which belong to `root` then.
Result<void> make_folders_inside(const std::filesystem::path& top, const std::filesystem::path& relative, uid_t root,
                                 mode_t mode);

/// publish_files() in the volume that is mounted, read-only, on `target` in the mount namespace of `process`. An
/// instance may move the folders that its mounts are in, and put something else where they were: so it is done with the
/// rights of `root` and from the instance's own root folder, and can do nothing that the instance could not. Blocks, in
/// a thread of its own. Errors: not_found where publish_files() never wrote, io.
Result<void> publish_files_in(const Fd& process, const std::string& target, const std::vector<VolumeFile>& files,
                              uid_t root);

/// A file on a tmpfs of that namespace, to read. Blocks in the same way. Errors: not_found for any other file, io.
Result<Fd> open_file_in(const Fd& process, const std::string& path);

}  // namespace wick::container
