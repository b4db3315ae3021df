// What Secrets and ConfigMaps say, put where a revision refers to it.
#pragma once

#include <string>
#include <vector>

#include "wick/container/runner.hpp"
#include "wick/model/revision.hpp"
#include "wick/store/objects.hpp"

namespace wick::control {

/// The container's variables with every value in place: envFrom first, in order, then env (Kubernetes' order). Keys
/// that are no variable's name are left out. Errors: not_found, in the kubelet's words, for an object or key that is
/// neither there nor optional.
Result<std::vector<model::EnvironmentVariable>> resolve_environment(const store::Objects& objects,
                                                                    const std::string& name_space,
                                                                    const model::Container& container);

/// The revision's volumes with the files of their Secrets and ConfigMaps. An emptyDir without a limit holds at most
/// half of `memory_bytes`, as a tmpfs does. Errors: not_found, in the kubelet's words.
Result<std::vector<container::Volume>> resolve_volumes(const store::Objects& objects, const std::string& name_space,
                                                       const model::RevisionSpec& spec, std::uint64_t memory_bytes);

/// What `container` mounts of them.
std::vector<container::VolumeMount> mounts_of(const std::vector<model::Volume>& volumes,
                                              const model::Container& container);

/// True when the revision refers to this Secret or ConfigMap.
bool refers_to_values(const boost::json::object& revision, model::ValueObject::Kind kind, std::string_view name);

}  // namespace wick::control
