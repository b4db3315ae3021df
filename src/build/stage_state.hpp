// What is known while a stage is read line by line: variables, the image's config so far, shell and user.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "plan.hpp"
#include "words.hpp"

namespace wick::build {

inline constexpr const char* default_path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

std::string flag_name(const std::string& flag);
std::string flag_value(const std::string& flag);

/// Flags, number of words, what is not supported. Says so with file and line.
Result<void> check_instruction(const std::string& file, const Instruction& instruction);
bool is_proxy_argument(std::string_view name);

struct CopySource {
  std::optional<std::size_t> stage;  // of the outline
  std::string image;
};
/// What --from=`name` means in stage `index`: an earlier stage by name or number, else an image.
Result<CopySource> find_copy_source(const std::string& file, const Instruction& at, const Outline& outline,
                                    std::size_t index, const std::string& name);

/// ENV and ARG share one scope in which the later line wins (probed with BuildKit; its reference says otherwise).
struct StageState {
  image::ImageConfig config;
  std::map<std::string, std::string> scope;      // every variable that is set
  std::map<std::string, std::string> arguments;  // the part of it that came from ARG and is not in the image
  std::vector<std::string> argument_order;       // as declared, for the image's history
  std::map<std::string, std::string> proxies;
  bool command_is_ours = false;  // CMD of this stage: a later ENTRYPOINT keeps it

  static StageState on_image(image::ImageConfig config, const PlanRequest& request);
  StageState child() const;

  Lookup lookup() const;
  void set_environment(const std::string& name, const std::string& value);
  void set_author(const std::string& author);
  void set_argument(const std::string& name, const std::string& value);
  /// The image's environment with this stage's ARGs on top.
  std::vector<std::string> run_environment() const;
};

/// Reads the instructions of one stage into steps.
struct StageReader {
  const Dockerfile& file;
  const Outline& outline;
  const PlanRequest& request;
  const std::map<std::size_t, std::size_t>& planned;
  std::size_t index;
  Plan& plan;
  std::set<std::string>& used_arguments;

  Result<void> read(StageState& state, StagePlan& out);

 private:
  Result<void> one(const Instruction& instruction, StageState& state, StagePlan& out);
  Result<void> run(const Instruction& instruction, StageState& state, Step& step);
  Result<void> copy(const Instruction& instruction, StageState& state, Step& step);
  Result<void> copy_flags(const Instruction& instruction, const StageState& state, CopyStep& copy);
  Result<void> mount(const Instruction& instruction, const StageState& state, const std::string& text, RunStep& run);
  Result<TakeFrom> take_from(const Instruction& instruction, const std::string& name);
  Result<void> argument(const Instruction& instruction, StageState& state, Step& step);
  Result<void> pairs(const Instruction& instruction, StageState& state, Step& step);
  Result<void> expose(const Instruction& instruction, StageState& state, Step& step);
  Result<void> healthcheck(const Instruction& instruction, StageState& state);
  Result<std::string> expand(const Instruction& at, const StageState& state, const std::string& word,
                             bool keep_quotes = false) const;
  std::unexpected<Error> wrong(const Instruction& at, std::string reason, std::string hint = {},
                               Errc code = Errc::invalid) const;
};

}  // namespace wick::build
