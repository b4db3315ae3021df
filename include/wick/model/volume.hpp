// Volumes of a revision: folders that its instances see beside their image. Kubernetes' kinds that need no cluster:
// emptyDir, secret, configMap, and projected of the two.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "wick/model/environment.hpp"
#include "wick/model/object_reader.hpp"
#include "wick/model/quantity.hpp"

namespace wick::model {

struct KeyToPath {
  std::string key;
  std::string path;  // below the volume; no ".."
  std::optional<std::uint32_t> mode;
};

/// The keys of one Secret or ConfigMap as files.
struct ValueFiles {
  ValueObject from;
  std::vector<KeyToPath> items;  // empty: every key, as a file of its name
};

struct Volume {
  std::string name;
  enum class Kind { empty, values } kind = Kind::empty;
  std::optional<Quantity> size_limit;  // empty
  std::uint32_t default_mode = 0644;   // values
  std::vector<ValueFiles> sources;     // values; of two files at one path the later one stays
};

struct VolumeMount {
  std::string volume;
  std::string path;      // absolute and clean
  std::string sub_path;  // below the volume; empty: all of it
  bool read_only = false;
};

/// `spec.volumes`, checked with Knative's words (serving.md 1.2) and, below its depth, Kubernetes' rules.
std::vector<Volume> decode_volumes(ObjectReader& spec);
/// A container's `volumeMounts` of `volumes`.
std::vector<VolumeMount> decode_volume_mounts(ObjectReader& container, const std::vector<Volume>& volumes);
/// Reports every volume that none of `mounts` is of.
void check_all_mounted(ObjectReader& spec, const std::vector<Volume>& volumes, const std::vector<VolumeMount>& mounts);

/// Mounts of anything but an emptyDir are read-only where they do not say: in place, in the containers of `spec`.
void default_volume_mounts(json::object& spec);

}  // namespace wick::model
