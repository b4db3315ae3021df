// From instructions to steps: which stages the target needs, what each of their steps does, and what the image says in
// the end. Pure: the images that FROM names are resolved by the caller between outline() and make_plan().
//
//   Dockerfile ── outline() ──► Outline (stages, images needed) ── resolve ──► make_plan() ──► Plan (steps) ──►
//   engine.hpp
#pragma once

#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "dockerfile.hpp"
#include "mode_change.hpp"
#include "wick/image/content_store.hpp"

namespace wick::build {

struct PlanRequest {
  std::map<std::string, std::string> build_args;
  std::string target;  // name or index of a stage; empty is the last
  std::string architecture = "amd64";
};

struct Outline {
  struct Stage {
    std::string name;                       // lower case; "" without AS
    std::string image;                      // what FROM names, expanded; "" when `base_stage` is set
    std::optional<std::size_t> base_stage;  // FROM an earlier stage
    std::size_t from = 0;                   // index of the FROM line
    std::size_t end = 0;                    // one past the stage's last instruction
    bool needed = false;
  };
  std::vector<Stage> stages;
  std::size_t target = 0;
  std::map<std::string, std::string> globals;  // ARGs before the first FROM, with their values
  std::set<std::string> images;                // what must be known before make_plan(); never "scratch"

  static constexpr std::size_t stages_max = 200;
};

/// Errors are Errc::invalid or unsupported, with file, line and text.
Result<Outline> outline(const Dockerfile& file, const PlanRequest& request);

struct InlineFile {
  std::string name;
  std::string content;
};

/// Where COPY --from and RUN --mount=from take from.
struct TakeFrom {
  enum class Kind { context, stage, image } kind = Kind::context;
  std::size_t stage = 0;  // index into Plan::stages
  std::string image;
};

/// RUN --mount.
struct Mount {
  enum class Type { bind, cache, tmpfs, secret, ssh } type = Type::bind;
  std::string target;            // absolute; "" for a secret that is only a variable
  std::string source;            // bind, cache: below the root of what it is from
  std::optional<TakeFrom> from;  // bind (always), cache: what an empty one starts with
  std::string id;                // cache, secret, ssh
  enum class Sharing { shared, exclusive, locked } sharing = Sharing::shared;  // "private" is a C++ word
  bool writable = false;                                                       // bind: writes are possible, and lost
  bool required = false;                                                       // secret, ssh
  std::string variable;                                                        // secret: env=
  std::uint64_t bytes_max = 0;                                                 // tmpfs
  unsigned mode = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
};

struct CopyStep {
  enum class From { context, stage, image } from = From::context;
  std::size_t stage = 0;  // index into Plan::stages
  std::string image;
  std::vector<std::string> sources;  // relative to the root of what they come from; may have wildcards
  std::vector<std::string> pivots;   // --parents: for each source the folder that its names start below
  std::vector<InlineFile> files;     // heredocs
  std::string destination;           // absolute; a '/' at the end means a folder
  std::string owner;                 // "user:group" of --chown; empty: 0:0, or as it was with --from
  std::optional<ModeChange> mode;    // of --chmod
  std::vector<std::string> excludes;
  bool unpack = false;         // ADD: a local tar is unpacked
  bool unpack_remote = false;  // ADD --unpack: one from a URL too
  struct Remote {
    std::string url;  // git: "URL#ref:folder"
    bool git = false;
  };
  std::vector<Remote> remotes;  // ADD
  std::string checksum;         // of the one remote: "sha256:…", or the commit
  bool keep_git = false;        // ADD --keep-git-dir
  bool parents = false;         // --parents
};

struct RunStep {
  std::vector<std::string> argv;
  std::string script;  // a heredoc that starts with "#!": the file /dev/pipes/NAME, which argv names
  std::vector<Mount> mounts;
  std::vector<std::string> environment;
  std::vector<std::string> proxies;  // given to the process, not part of its key
  std::string user;
  std::string working_folder;
  bool isolated = false;  // --network=none
};

/// WORKDIR: the folder is made when it is missing.
struct FolderStep {
  std::string path;
  std::string user;
};

struct ConfigStep {};

struct Step {
  std::string text;        // as written, for people: "RUN npm ci"
  std::string created_by;  // for the image's history
  int line = 0;
  std::variant<ConfigStep, RunStep, CopyStep, FolderStep> action;

  bool makes_layer() const { return !std::holds_alternative<ConfigStep>(action); }
};

struct StagePlan {
  std::string name;
  std::string image;                      // "scratch" or a name in Outline::images
  std::optional<std::size_t> base_stage;  // index into Plan::stages
  std::vector<Step> steps;
  image::ImageConfig config;  // in the end; layers and history of its own steps are the engine's to add
};

struct Plan {
  std::vector<StagePlan> stages;  // only what the target needs, in order; the target is the last
  std::vector<std::string> warnings;
};

Result<Plan> make_plan(const Dockerfile& file, const Outline& outline, const PlanRequest& request,
                       const std::map<std::string, image::ImageConfig>& images);

/// What a step depends on, in one digest: the rules' version, the layers below, the operation and its inputs. Time is
/// not in it.
Digest step_key(const Step& step, std::span<const Digest> layers, const Digest& inputs);

/// One line a step, for golden files and `--explain`.
std::string to_text(const Plan& plan);

}  // namespace wick::build
