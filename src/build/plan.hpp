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

struct CopyStep {
  enum class From { context, stage, image } from = From::context;
  std::size_t stage = 0;  // index into Plan::stages
  std::string image;
  std::vector<std::string> sources;  // relative to the root of what they come from; may have wildcards
  std::vector<InlineFile> files;     // heredocs
  std::string destination;           // absolute; a '/' at the end means a folder
  std::string owner;                 // "user:group" of --chown; empty: 0:0, or as it was with --from
  std::optional<unsigned> mode;      // of --chmod
  std::vector<std::string> excludes;
  bool unpack = false;  // ADD: a local tar is unpacked
};

struct RunStep {
  std::vector<std::string> argv;
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
