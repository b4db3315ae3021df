#include "control/process.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "wick/base/text.hpp"

namespace wick::control {

namespace {

constexpr std::string_view default_path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

void set_variable(std::vector<model::EnvironmentVariable>& variables, std::string name, std::string value) {
  const auto found = std::ranges::find(variables, name, &model::EnvironmentVariable::name);
  if (found == variables.end())
    variables.push_back({std::move(name), std::move(value)});
  else
    found->value = std::move(value);
}

std::vector<model::EnvironmentVariable> make_environment(const image::ImageConfig& image,
                                                         const model::Container& container, const RevisionNames& names,
                                                         ContainerRole role) {
  std::vector<model::EnvironmentVariable> variables;
  for (const auto& entry : image.environment) {
    const auto equals = entry.find('=');
    if (equals != entry.npos && equals > 0) set_variable(variables, entry.substr(0, equals), entry.substr(equals + 1));
  }
  if (std::ranges::find(variables, "PATH", &model::EnvironmentVariable::name) == variables.end())
    variables.push_back({"PATH", std::string(default_path)});
  // The contract first, so that a variable of the template may refer to it; names of the contract are refused in
  // templates.
  if (role == ContainerRole::serving) set_variable(variables, "PORT", std::to_string(container.port));
  if (role != ContainerRole::init) {
    set_variable(variables, "K_SERVICE", names.service);
    set_variable(variables, "K_CONFIGURATION", names.configuration);
    set_variable(variables, "K_REVISION", names.revision);
  }
  for (const auto& variable : container.environment)
    set_variable(variables, variable.name, expand_variables(variable.value, variables));
  return variables;
}

}  // namespace

std::string expand_variables(std::string_view text, const std::vector<model::EnvironmentVariable>& variables) {
  std::string expanded;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '$' || at + 1 == text.size()) {
      expanded += text[at];
    } else if (text[at + 1] == '$') {
      expanded += '$';
      ++at;
    } else if (const auto close = text.find(')', at); text[at + 1] == '(' && close != text.npos) {
      const auto name = text.substr(at + 2, close - at - 2);
      const auto found = std::ranges::find(variables, name, &model::EnvironmentVariable::name);
      expanded += found == variables.end() ? text.substr(at, close - at + 1) : std::string_view(found->value);
      at = close;
    } else {
      expanded += '$';
    }
  }
  return expanded;
}

Result<container::Process> make_process(const image::ImageConfig& image, const model::Container& container,
                                        const RevisionNames& names, ContainerRole role) {
  const auto variables = make_environment(image, container, names, role);
  container::Process process;
  const auto append = [&](const std::vector<std::string>& words, bool expand) {
    for (const auto& word : words) process.argv.push_back(expand ? expand_variables(word, variables) : word);
  };
  if (!container.command.empty()) {
    append(container.command, true);
    append(container.args, true);
  } else {
    append(image.entrypoint, false);
    container.args.empty() ? append(image.command, false) : append(container.args, true);
  }
  if (process.argv.empty() || process.argv.front().empty())
    return fail(Errc::invalid, "the image has neither ENTRYPOINT nor CMD and the template gives no command",
                "add CMD [\"program\"] to the Dockerfile, or command: to the container");
  for (const auto& variable : variables) process.environment.push_back(variable.name + "=" + variable.value);
  process.working_folder = !container.working_folder.empty() ? container.working_folder
                           : !image.working_folder.empty()   ? image.working_folder
                                                             : "/";
  return process;
}

std::string user_of(const image::ImageConfig& image, const model::Container& container) {
  if (!container.run_as_user && !container.run_as_group) return image.user;
  const auto colon = image.user.find(':');
  auto user = container.run_as_user ? std::to_string(*container.run_as_user) : image.user.substr(0, colon);
  if (user.empty()) user = "0";
  if (container.run_as_group) return user + ":" + std::to_string(*container.run_as_group);
  return user;
}

container::Limits limits_of(const model::Container& container) {
  container::Limits limits;
  if (container.memory_limit)
    limits.memory_bytes = static_cast<std::uint64_t>(std::max<std::int64_t>(container.memory_limit->whole(), 1));
  if (container.cpu_limit)
    limits.cpu_millis = static_cast<std::uint32_t>(std::clamp<std::int64_t>(container.cpu_limit->milli, 1, 1'000'000));
  return limits;
}

namespace {

serving::Probe::Kind kind_of(model::ReadinessProbe::Kind kind) {
  switch (kind) {
    case model::ReadinessProbe::Kind::http:
      return serving::Probe::Kind::http;
    case model::ReadinessProbe::Kind::exec:
      return serving::Probe::Kind::exec;
    case model::ReadinessProbe::Kind::grpc:
      return serving::Probe::Kind::grpc;
    case model::ReadinessProbe::Kind::tcp:
      break;
  }
  return serving::Probe::Kind::tcp;
}

}  // namespace

serving::Scaling scaling_of(const model::Autoscaling& autoscaling) {
  serving::Scaling scaling;
  const auto take = [](auto& to, const auto& from) {
    if (from) to = *from;
  };
  using Model = model::Autoscaling;
  if (autoscaling.metric == Model::Metric::rps) scaling.metric = serving::Scaling::Metric::rps;
  if (autoscaling.aggregation == Model::Aggregation::weighted_exponential)
    scaling.aggregation = serving::Scaling::Aggregation::weighted_exponential;
  take(scaling.target, autoscaling.target);
  if (autoscaling.target_utilization_percentage) scaling.utilization = *autoscaling.target_utilization_percentage / 100;
  take(scaling.target_burst_capacity, autoscaling.target_burst_capacity);
  take(scaling.min_scale, autoscaling.min_scale);
  take(scaling.max_scale, autoscaling.max_scale);
  take(scaling.initial_scale, autoscaling.initial_scale);
  take(scaling.activation_scale, autoscaling.activation_scale);
  take(scaling.stable_window, autoscaling.window);
  take(scaling.panic_window_percentage, autoscaling.panic_window_percentage);
  take(scaling.panic_threshold_percentage, autoscaling.panic_threshold_percentage);
  take(scaling.scale_down_delay, autoscaling.scale_down_delay);
  take(scaling.scale_to_zero_retention, autoscaling.scale_to_zero_retention);
  return scaling;
}

serving::Ladder ladder_of(const model::Ladder& ladder) {
  return {.spares = ladder.prepared_spares,
          .park = ladder.park,
          .spares_for = ladder.prepared_for,
          .freeze_after = ladder.freeze_after,
          .frozen_for = ladder.frozen_for};
}

double weight_of(std::string_view annotation) {
  constexpr double usual = 100;
  const auto weight = parse_unsigned(annotation);
  return weight && *weight >= 1 && *weight <= 1000 ? static_cast<double>(*weight) : usual;
}

std::optional<serving::Liveness> liveness_of(const model::Container& container) {
  if (!container.liveness) return std::nullopt;
  const auto& probe = *container.liveness;
  return serving::Liveness{.kind = kind_of(probe.kind),
                           .path = probe.path,
                           .command = probe.command,
                           .initial_delay = probe.initial_delay,
                           .timeout = probe.timeout,
                           .period = probe.period,
                           .failure_threshold = probe.failure_threshold};
}

milliseconds startup_limit_of(const model::Container& container, milliseconds progress_deadline) {
  if (!container.startup) return progress_deadline;
  const auto& probe = *container.startup;
  return std::min<milliseconds>(progress_deadline, probe.initial_delay + probe.period * probe.failure_threshold);
}

std::optional<serving::Probe> startup_of(const model::Container& container) {
  if (!container.startup) return std::nullopt;
  const auto& probe = *container.startup;
  // Asked as fast as is useful: its period and threshold say how long a start may take (startup_limit_of).
  return serving::Probe{
      .kind = kind_of(probe.kind), .path = probe.path, .command = probe.command, .timeout = probe.timeout};
}

serving::Probe probe_of(const model::Container& container) {
  serving::Probe probe;
  if (!container.readiness) return probe;
  const auto& readiness = *container.readiness;
  probe.kind = kind_of(readiness.kind);
  probe.path = readiness.path;
  probe.command = readiness.command;
  probe.port = readiness.port;
  if (readiness.timeout > 0s) probe.timeout = readiness.timeout;
  probe.success_threshold = readiness.success_threshold;
  probe.period = readiness.period;
  return probe;
}

}  // namespace wick::control
