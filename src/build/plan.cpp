#include "plan.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "patterns.hpp"
#include "stage_state.hpp"
#include "wick/base/text.hpp"
#include "words.hpp"

namespace wick::build {

namespace {

std::map<std::string, std::string> platform_arguments(const std::string& architecture) {
  std::map<std::string, std::string> out;
  for (const char* side : {"TARGET", "BUILD"}) {
    const std::string prefix = side;
    out[prefix + "PLATFORM"] = "linux/" + architecture;
    out[prefix + "OS"] = "linux";
    out[prefix + "ARCH"] = architecture;
    out[prefix + "VARIANT"] = "";
    out[prefix + "OSVERSION"] = "";
  }
  return out;
}

/// Reads the stages off the file: globals, names, bases. What is needed is marked afterwards.
class Outliner {
 public:
  Outliner(const Dockerfile& file, const PlanRequest& request) : file_(file), request_(request) {
    out_.globals = platform_arguments(request.architecture);
    out_.globals["TARGETSTAGE"] = request.target.empty() ? "default" : request.target;
    for (auto& [name, value] : out_.globals)
      if (auto given = request.build_args.find(name); given != request.build_args.end()) value = given->second;
  }

  Result<Outline> run() {
    for (std::size_t i = 0; i < file_.instructions.size(); ++i) {
      const auto& instruction = file_.instructions[i];
      if (auto checked = check_instruction(file_.name, instruction); !checked) return fail(std::move(checked.error()));
      Result<void> read;
      if (instruction.keyword == "from") {
        read = from(i);
      } else if (!out_.stages.empty()) {
        out_.stages.back().end = i + 1;
      } else if (instruction.keyword == "arg") {
        read = global_argument(instruction);
      } else {
        read = fail(instruction_error(file_.name, instruction, "there is no build stage yet", "start with FROM IMAGE"));
      }
      if (!read) return fail(std::move(read.error()));
    }
    if (out_.stages.empty()) return fail(Errc::invalid, fmt::format("{}: there is no FROM", file_.name));
    if (auto found = find_target(); !found) return fail(std::move(found.error()));
    if (auto marked = need(out_.target); !marked) return fail(std::move(marked.error()));
    return std::move(out_);
  }

 private:
  Result<std::string> expand(const Instruction& at, const std::string& word) const {
    const Lookup lookup = [this](std::string_view name) -> std::optional<std::string> {
      const auto found = out_.globals.find(std::string(name));
      if (found == out_.globals.end()) return std::nullopt;
      return found->second;
    };
    auto expanded = expand_word(word, lookup, {.escape = file_.escape});
    if (!expanded) return fail(instruction_error(file_.name, at, expanded.error().message()));
    return expanded;
  }

  Result<void> global_argument(const Instruction& instruction) {
    for (const auto& word : instruction.arguments) {
      const auto equals = word.find('=');
      const auto name = word.substr(0, equals);
      const auto given = request_.build_args.find(name);
      if (given != request_.build_args.end()) {
        out_.globals[name] = given->second;
      } else if (equals != std::string::npos) {
        auto value = expand(instruction, word.substr(equals + 1));
        if (!value) return fail(std::move(value.error()));
        out_.globals[name] = *value;
      }
    }
    return {};
  }

  Result<void> from(std::size_t index) {
    const auto& instruction = file_.instructions[index];
    Outline::Stage stage{.from = index, .end = index + 1};
    if (instruction.arguments.size() == 3) stage.name = to_lower(instruction.arguments[2]);
    auto image = expand(instruction, instruction.arguments[0]);
    if (!image) return fail(std::move(image.error()));
    if (image->empty())
      return fail(instruction_error(file_.name, instruction, "the image name is empty once its variables are expanded",
                                    "give the ARG before FROM a default, or pass --build-arg"));
    if (const auto flag = instruction.flag("platform")) {
      auto platform = expand(instruction, *flag);
      if (!platform) return fail(std::move(platform.error()));
      if (!platform->empty() && *platform != "linux/" + request_.architecture && *platform != request_.architecture)
        return fail(
            instruction_error(file_.name, instruction,
                              fmt::format("platform {} cannot be built on linux/{}", *platform, request_.architecture),
                              {}, Errc::unsupported));
    }
    stage.base_stage = earlier_stage(*image);
    if (!stage.base_stage) stage.image = *image;
    out_.stages.push_back(std::move(stage));
    if (out_.stages.size() > Outline::stages_max)
      return fail(Errc::too_large, fmt::format("{}: more than {} stages", file_.name, Outline::stages_max));
    return {};
  }

  std::optional<std::size_t> earlier_stage(std::string_view name) const {
    for (std::size_t i = out_.stages.size(); i-- > 0;)
      if (!out_.stages[i].name.empty() && iequals(out_.stages[i].name, name)) return i;
    return std::nullopt;
  }

  Result<void> find_target() {
    out_.target = out_.stages.size() - 1;
    if (request_.target.empty()) return {};
    if (const auto named = earlier_stage(request_.target)) {
      out_.target = *named;
      return {};
    }
    const auto index = parse_unsigned(request_.target);
    if (index && *index < out_.stages.size()) {
      out_.target = *index;
      return {};
    }
    std::vector<std::string_view> names;
    for (const auto& stage : out_.stages)
      if (!stage.name.empty()) names.push_back(stage.name);
    auto near = nearest_word(request_.target, names);
    return fail(
        Errc::invalid, fmt::format("{}: there is no stage '{}'", file_.name, printable(request_.target)),
        near.empty() ? fmt::format("stages: {}", fmt::join(names, ", ")) : fmt::format("did you mean {}?", near));
  }

  /// Marks stage `index` and all it takes from. Sources are earlier stages only, so this ends.
  Result<void> need(std::size_t index) {
    auto& stage = out_.stages[index];
    if (stage.needed) return {};
    stage.needed = true;
    if (stage.base_stage) {
      if (auto marked = need(*stage.base_stage); !marked) return marked;
    } else if (stage.image != "scratch") {
      out_.images.insert(stage.image);
    }
    for (std::size_t i = stage.from + 1; i < stage.end; ++i) {
      const auto& instruction = file_.instructions[i];
      for (const auto& name : taken_from(instruction)) {
        auto source = find_copy_source(file_.name, instruction, out_, index, name);
        if (!source) return fail(std::move(source.error()));
        if (!source->stage) {
          out_.images.insert(source->image);
        } else if (auto marked = need(*source->stage); !marked) {
          return marked;
        }
      }
    }
    return {};
  }

  /// Names after --from= and, in a --mount, from=.
  static std::vector<std::string> taken_from(const Instruction& instruction) {
    std::vector<std::string> out;
    if (instruction.keyword == "copy")
      if (const auto from = instruction.flag("from")) out.push_back(*from);
    if (instruction.keyword != "run") return out;
    for (const auto& flag : instruction.flags) {
      if (flag_name(flag) != "mount") continue;
      for (const auto field : split(flag_value(flag), ','))
        if (field.starts_with("from=")) out.emplace_back(field.substr(5));
    }
    return out;
  }

  const Dockerfile& file_;
  const PlanRequest& request_;
  Outline out_;
};

/// Length before bytes, so that no two different lists give one stream.
class KeyWriter {
 public:
  KeyWriter& add(std::string_view text) {
    hash_.update(fmt::format("{}:", text.size())).update(text);
    return *this;
  }
  KeyWriter& add(const std::vector<std::string>& texts) {
    add(std::to_string(texts.size()));
    for (const auto& text : texts) add(text);
    return *this;
  }
  Digest finish() { return hash_.finish(); }

 private:
  Sha256 hash_;
};

struct StepText {
  std::string operator()(const ConfigStep&) const { return "config"; }
  std::string operator()(const FolderStep& step) const {
    return fmt::format("folder {} user={}", step.path, step.user);
  }
  std::string operator()(const RunStep& step) const {
    return fmt::format("run {} cwd={} user={}{}", step.argv, step.working_folder, step.user,
                       step.isolated ? " isolated" : "");
  }
  std::string operator()(const CopyStep& step) const {
    std::string from;
    if (step.from == CopyStep::From::stage) from = fmt::format(" from=stage-{}", step.stage);
    if (step.from == CopyStep::From::image) from = fmt::format(" from={}", step.image);
    std::string files;
    for (const auto& file : step.files) files += fmt::format(" text={}", file.name);
    return fmt::format("copy {}{} -> {}{}{}{}{}", step.sources, files, step.destination, from,
                       step.owner.empty() ? "" : " owner=" + step.owner, step.mode ? " mode=" + step.mode->text() : "",
                       step.unpack ? " unpack" : "");
  }
};

}  // namespace

Result<Outline> outline(const Dockerfile& file, const PlanRequest& request) { return Outliner(file, request).run(); }

Result<Plan> make_plan(const Dockerfile& file, const Outline& outline, const PlanRequest& request,
                       const std::map<std::string, image::ImageConfig>& images) {
  Plan plan;
  plan.warnings = file.warnings;
  std::map<std::size_t, std::size_t> planned;  // stage of the outline → stage of the plan
  std::vector<StageState> states;              // of the plan's stages, for those built on them
  std::set<std::string> used_arguments;
  for (std::size_t i = 0; i <= outline.target; ++i) {
    const auto& stage = outline.stages[i];
    if (!stage.needed) continue;
    StagePlan out{.name = stage.name.empty() ? fmt::format("stage-{}", i) : stage.name, .image = stage.image};
    std::optional<StageState> state;
    if (stage.base_stage) {
      out.base_stage = planned.at(*stage.base_stage);
      state = states[*out.base_stage].child();
    } else {
      state = StageState::on_image(stage.image == "scratch" ? image::ImageConfig{} : images.at(stage.image), request);
    }
    StageReader reader{.file = file,
                       .outline = outline,
                       .request = request,
                       .planned = planned,
                       .index = i,
                       .plan = plan,
                       .used_arguments = used_arguments};
    if (auto read = reader.read(*state, out); !read) return fail(std::move(read.error()));
    out.config = state->config;
    planned[i] = plan.stages.size();
    plan.stages.push_back(std::move(out));
    states.push_back(std::move(*state));
  }
  // The plan's last stage is the target: everything before it is something the target takes from.
  for (const auto& [name, value] : request.build_args)
    if (!used_arguments.contains(name) && !outline.globals.contains(name) && !is_proxy_argument(name) &&
        name != "SOURCE_DATE_EPOCH")
      plan.warnings.push_back(fmt::format("build argument {} is not used", printable(name, 60)));
  return plan;
}

Digest step_key(const Step& step, std::span<const Digest> layers, const Digest& inputs) {
  KeyWriter key;
  key.add("wick step 2").add(std::to_string(layers.size()));
  for (const auto& layer : layers) key.add(layer.text());
  if (const auto* run = std::get_if<RunStep>(&step.action)) {
    key.add("run")
        .add(run->argv)
        .add(run->environment)
        .add(run->user)
        .add(run->working_folder)
        .add(run->isolated ? "isolated" : "")
        .add(run->script);
    // A cache's content is not part of what a step is; where it appears is. Secrets are as BuildKit has them: only
    // their names.
    for (const auto& mount : run->mounts)
      key.add(fmt::format("{} {} {} {} {} {:o} {} {} {}", static_cast<int>(mount.type), mount.target, mount.source,
                          mount.id, mount.writable, mount.mode, mount.uid, mount.gid, mount.variable));
  } else if (const auto* copy = std::get_if<CopyStep>(&step.action)) {
    key.add("copy").add(copy->destination).add(copy->owner).add(copy->mode ? copy->mode->text() : "as it is");
    key.add(copy->unpack ? "unpack" : "").add(copy->parents ? copy->pivots : std::vector<std::string>{});
    if (copy->from != CopyStep::From::context) key.add(copy->sources).add(copy->excludes);
    for (const auto& remote : copy->remotes) key.add(remote.url).add(copy->checksum).add(copy->keep_git ? "git" : "");
  } else if (const auto* folder = std::get_if<FolderStep>(&step.action)) {
    key.add("folder").add(folder->path).add(folder->user);
  }
  return key.add(inputs.text()).finish();
}

std::string to_text(const Plan& plan) {
  std::string out;
  for (const auto& stage : plan.stages) {
    out += fmt::format("stage {} from {}\n", stage.name,
                       stage.base_stage ? "stage " + plan.stages[*stage.base_stage].name : stage.image);
    for (const auto& step : stage.steps)
      if (step.makes_layer()) out += fmt::format("  {}: {}\n", step.line, std::visit(StepText{}, step.action));
    const auto& config = stage.config;
    out += fmt::format("  env {}\n  entrypoint {} command {} cwd={} user={} ports={}\n", config.environment,
                       config.entrypoint, config.command, config.working_folder, config.user, config.exposed_ports);
  }
  return out;
}

}  // namespace wick::build
