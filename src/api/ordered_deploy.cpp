#include "api/ordered_deploy.hpp"

#include <fmt/format.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "wick/base/text.hpp"
#include "wick/control/previews.hpp"
#include "wick/model/admission.hpp"
#include "wick/model/condition.hpp"
#include "wick/model/failure.hpp"
#include "wick/model/metadata.hpp"
#include "wick/model/object_reader.hpp"
#include "wick/os/deadline.hpp"

namespace wick::api {

namespace {

using store::ObjectKey;
using store::ObjectValue;

constexpr std::chrono::minutes ready_limit_of_deploy{20};  // progress-deadline is 10 minutes where nobody says another
constexpr std::size_t run_name_bytes_max = 63;
constexpr std::size_t step_width = 9;
constexpr std::size_t step_text_width = 48;

ObjectKey service_key(const std::string& name_space, const std::string& name) {
  return {model::service_kind().resource(), name_space, name};
}

std::int64_t number_of(const json::object& object, std::initializer_list<std::string_view> path) {
  const auto* value = model::find_value(object, path);
  return value && value->is_int64()    ? value->get_int64()
         : value && value->is_uint64() ? static_cast<std::int64_t>(value->get_uint64())
                                       : 0;
}

std::string elapsed_text(milliseconds elapsed) {
  if (elapsed < 100ms) return fmt::format("{} ms", elapsed.count());
  const auto seconds = static_cast<double>(elapsed.count()) / 1000;
  if (seconds < 60) return fmt::format("{:.1f} s", seconds);
  return fmt::format("{} min {} s", elapsed.count() / 60'000, elapsed.count() / 1000 % 60);
}

/// The object once `done` says so of it; it may be gone by then (nullptr).
awaitable<ObjectValue> await_object(const Doors& doors, ObjectKey key, std::function<bool(const ObjectValue&)> done) {
  Wakeup news(doors.executor);
  const auto subscription = doors.objects.subscribe([&news, &key](const store::Change& change) {
    if (change.key == key) news.notify();
  });
  while (true) {
    auto object = doors.objects.find(key);
    if (done(object)) co_return object;
    co_await news.wait();
  }
}

std::optional<model::Failure> failure_in(const json::object& object) {
  for (const auto name : {"lastFailure", "failure"})
    if (const auto* value = model::find_value(object, {"status", name}); value && value->is_object())
      if (auto failure = model::Failure::from_json(*value)) return std::move(*failure);
  return std::nullopt;
}

FailedDeploy told(std::string headline, const model::Failure& failure, std::vector<std::string> notes) {
  FailedDeploy failed{.because = failure.because.empty() ? headline : failure.because, .lines = {}};
  failed.lines.push_back(failure.slug.empty() ? "error: " + headline
                                              : fmt::format("error: {}  [{}]", headline, failure.slug));
  if (!failure.because.empty()) failed.lines.push_back("  because: " + printable(failure.because, 1000));
  if (!failure.last_output.empty()) failed.lines.emplace_back("  last output:");
  for (const auto& line : failure.last_output) failed.lines.push_back("    " + printable(line, 1000));
  for (auto& note : notes) failed.lines.push_back("  " + note);
  if (!failure.hint.empty()) failed.lines.push_back("  hint: " + printable(failure.hint, 1000));
  return failed;
}

bool is_only_built(const json::object& run) {
  const auto has = [&](std::string_view key) { return model::find_value(run, {"metadata", "annotations", key}); };
  return !has(model::names::deploy) && !has(model::names::preview);
}

FailedDeploy gone(std::string_view what) {
  FailedDeploy failed{.because = fmt::format("{} was removed meanwhile", what), .lines = {}};
  failed.lines.push_back("error: " + failed.because);
  return failed;
}

FailedDeploy build_failed(const std::string& name, const json::object& run) {
  const auto headline = fmt::format("the build of {} failed", name);
  model::Failure failure{.step = {},
                         .slug = "E_BUILD_FAILED",
                         .because = model::find_condition(run, "Succeeded").message,
                         .last_output = {},
                         .hint = {}};
  if (auto known = failure_in(run)) failure = std::move(*known);
  if (!failure.step.empty()) failure.because = fmt::format("step {}: {}", failure.step, failure.because);
  if (failure.hint.empty())
    failure.hint = fmt::format("fix it and push again; the whole log: wick logs {} --build", name);
  return told(headline, failure, {});
}

FailedDeploy not_ready(const Doors& doors, const ObjectKey& key, const json::object& service) {
  const auto revision = model::text_at(service, {"status", "latestCreatedRevisionName"});
  const auto headline = fmt::format("{} did not become ready", revision.empty() ? key.name : revision);
  auto failure = failure_in(service);
  const auto object = doors.objects.find({model::revision_kind().resource(), key.name_space, revision});
  if (!failure && object) failure = failure_in(*object);
  if (!failure)
    failure = model::Failure{.step = {},
                             .slug = "E_NOT_READY",
                             .because = model::find_condition(service, "Ready").message,
                             .last_output = {},
                             .hint = {}};
  if (failure->hint.empty())
    failure->hint = fmt::format("fix it and push again; full output: wick logs {} --failed", key.name);
  std::vector<std::string> notes;
  if (const auto* traffic = model::find_value(service, {"status", "traffic"}); traffic && traffic->is_array())
    for (const auto& target : traffic->get_array()) {
      if (!target.is_object()) continue;
      const auto serves = model::text_at(target.get_object(), {"revisionName"});
      const auto percent = number_of(target.get_object(), {"percent"});
      if (percent > 0 && !serves.empty() && serves != revision)
        notes.push_back(fmt::format("{} still serves {} % of the traffic.", serves, percent));
    }
  if (notes.empty()) notes.push_back(fmt::format("No revision of {} serves.", key.name));
  return told(headline, *failure, std::move(notes));
}

std::string with_port_of(std::string url, std::string_view listen) {
  constexpr std::string_view scheme = "http://";
  const auto colon = listen.rfind(':');
  const auto port = colon == listen.npos ? std::string_view() : listen.substr(colon + 1);
  if (!url.starts_with(scheme) || url.find(':', scheme.size()) != url.npos || !parse_unsigned(port) || port == "80")
    return url;
  return url.insert(std::min(url.find('/', scheme.size()), url.size()), ":" + std::string(port));
}

FailedDeploy preview_not_ready(const Doors& doors, const json::object& configuration) {
  const auto name_space = model::text_at(configuration, {"metadata", "namespace"});
  const auto service = model::text_at(configuration, {"metadata", "labels", model::names::service});
  const auto revision = model::text_at(configuration, {"status", "latestCreatedRevisionName"});
  const auto object = doors.objects.find({model::revision_kind().resource(), name_space, revision});
  auto failure = object ? failure_in(*object) : std::nullopt;
  if (!failure)
    failure = model::Failure{.step = {},
                             .slug = "E_NOT_READY",
                             .because = model::find_condition(configuration, "Ready").message,
                             .last_output = {},
                             .hint = {}};
  if (failure->hint.empty())
    failure->hint = fmt::format("fix it and push again; full output: wick logs {} --failed", service);
  const auto serves = model::text_at(configuration, {"status", "latestReadyRevisionName"});
  std::vector<std::string> notes{serves.empty() ? fmt::format("The preview does not serve; {} is as it was.", service)
                                                : fmt::format("{} still serves the preview.", serves)};
  return told(fmt::format("{} did not become ready", revision), *failure, std::move(notes));
}

/// The log to its end; a run that waits for its turn has none yet.
awaitable<void> tell_log(const Doors& doors, const OrderedDeploy& deploy, const OnLine& on_line) {
  auto& logs = doors.control.build_logs();
  auto has_begun = [&](const ObjectValue& run) {
    return !run || logs.is_open(deploy.uid) || model::find_condition(*run, "Succeeded").status != model::Truth::unknown;
  };
  // Its log is opened before its status says that it runs.
  co_await await_object(doors, deploy.run, has_begun);
  auto tell = [&on_line](std::string_view lines) -> awaitable<bool> {
    for (const auto line : split(lines, '\n')) {
      boost::system::error_code wrong;
      const auto event = json::parse(line, wrong);
      if (wrong || !event.is_object()) continue;
      auto text = progress_line(event.get_object());
      co_await on_line(std::move(text));
    }
    co_return true;
  };
  (void)co_await logs.read(deploy.uid, true, tell);
}

}  // namespace

std::string step_line(std::string_view step, std::string_view text, std::string_view elapsed) {
  auto line = fmt::format("{:<{}}  ", step, step_width);
  line += elapsed.empty() ? std::string(text) : fmt::format("{:<{}}  {}", text, step_text_width, elapsed);
  return line;
}

std::string progress_line(const json::object& event) {
  const auto kind = model::text_at(event, {"kind"}), step = model::text_at(event, {"step"});
  const auto text = printable(model::text_at(event, {"text"}), 1000);
  const auto elapsed = elapsed_text(milliseconds(number_of(event, {"elapsedMs"})));
  if (kind == "started") return step_line(step, text);
  if (kind == "finished") return step_line(step, text, elapsed);
  if (kind == "failed") return step_line(step, text.empty() ? "failed" : "failed " + text, elapsed);
  if (kind == "cached") return step_line(step, text, "cached");
  return step_line(step, "| " + text);
}

json::object ordered_service(const std::string& name, const json::object* existing) {
  json::object service{{"apiVersion", model::service_kind().api_version()},
                       {"kind", model::service_kind().kind},
                       {"metadata", {{"name", name}}},
                       {"spec", {{"template", {{"spec", {{"containers", json::array{json::object()}}}}}}}}};
  if (!existing) return service;
  for (const auto field : {"labels", "annotations"})
    if (const auto* map = model::find_value(*existing, {"metadata", field}); map && map->is_object())
      service["metadata"].get_object()[field] = *map;
  if (const auto* spec = existing->if_contains("spec"); spec && spec->is_object()) service["spec"] = *spec;
  // A fixed revision name can be used once.
  if (auto* metadata = service["spec"].get_object()["template"].if_object())
    if (auto* inner = metadata->if_contains("metadata"); inner && inner->is_object()) inner->get_object().erase("name");
  return service;
}

awaitable<Result<OrderedDeploy>> order_deploy(const Doors& doors, DeployOrder order) {
  if (auto complaint = model::dns1035_complaint(order.name); !complaint.empty())
    co_return fail(Errc::invalid, fmt::format("'{}' is no name of a service: {}", printable(order.name), complaint));
  const auto existing = doors.objects.find(service_key(order.name_space, order.name));
  if (order.preview)
    if (auto fits = control::check_preview(doors.objects, order.name_space, order.name, order.preview->branch); !fits)
      co_return fail(std::move(fits.error()));
  const auto ending = random_hex(3).substr(0, 5);
  const auto run_name =
      fmt::format("{}-{}", std::string_view(order.name).substr(0, run_name_bytes_max - ending.size() - 1), ending);
  if (!order.build.contains("strategy")) order.build["strategy"] = {{"name", "wick"}};
  if (!order.build.contains("output")) order.build["output"] = {{"image", order.name}};
  auto manifest = ordered_service(order.name, existing.get());
  model::change_environment(manifest, order.env);
  // What the Build calls its image is the image of its own branch.
  if (order.preview) order.build["output"] = {{"image", order.name + "-preview"}};
  json::object annotations;
  if (order.preview)
    annotations[model::names::preview] = model::to_text(*order.preview);
  else if (!order.build_only)
    annotations[model::names::deploy] = json::serialize(std::move(manifest));
  if (!order.commit.empty()) annotations["wick.dev/source-commit"] = order.commit;
  const auto& kind = model::build_run_kind();
  json::object run{{"apiVersion", kind.api_version()},
                   {"kind", kind.kind},
                   {"metadata",
                    {{"name", run_name},
                     {"namespace", order.name_space},
                     {"labels", {{"wick.dev/service", order.name}}},
                     {"annotations", std::move(annotations)}}},
                   {"spec", {{"build", {{"spec", std::move(order.build)}}}}}};
  auto admitted = model::admit(kind, std::move(run), {.user = order.user, .policy = doors.admission});
  if (!admitted) co_return fail(std::move(admitted.error()));
  auto there = co_await doors.control.ensure_namespace(order.name_space);
  if (!there) co_return fail(std::move(there.error()));
  const ObjectKey key{kind.resource(), order.name_space, run_name};
  auto created = co_await doors.objects.create(key, std::move(*admitted));
  if (!created) co_return fail(std::move(created.error()));
  const auto before =
      order.preview ? control::preview_of_branch(doors.objects, order.name_space, order.name, order.preview->branch)
                    : existing;
  co_return OrderedDeploy{.run = key,
                          .uid = model::text_at(**created, {"metadata", "uid"}),
                          .generation = before ? number_of(*before, {"metadata", "generation"}) : 0};
}

namespace {

/// From the image to a tag on the Service's Route.
awaitable<std::expected<DeployedService, FailedDeploy>> follow_preview(const Doors& doors, OrderedDeploy deploy,
                                                                       ObjectValue run, OnLine on_line) {
  const auto begun = doors.clock.now();
  const auto tag = model::text_at(*run, {"status", "preview", "tag"});
  const auto service = model::text_at(*run, {"status", "preview", "service"});
  const ObjectKey key{model::configuration_kind().resource(), deploy.run.name_space,
                      model::text_at(*run, {"status", "preview", "configuration"})};
  auto is_settled = [](const ObjectValue& configuration) {
    return !configuration || (number_of(*configuration, {"status", "observedGeneration"}) ==
                                  number_of(*configuration, {"metadata", "generation"}) &&
                              model::find_condition(*configuration, "Ready").status != model::Truth::unknown);
  };
  ObjectValue configuration, shown;
  std::string url;
  try {
    auto settled = await_object(doors, key, is_settled);
    configuration = co_await with_deadline(doors.clock, ready_limit_of_deploy, std::move(settled));
    if (!configuration) co_return std::unexpected(gone("the preview " + tag));
    if (model::find_condition(*configuration, "Ready").status == model::Truth::no)
      co_return std::unexpected(preview_not_ready(doors, *configuration));
    const auto revision = model::text_at(*configuration, {"status", "latestReadyRevisionName"});
    auto is_routed = [&](const ObjectValue& routed) {
      const auto* traffic = routed ? model::find_value(*routed, {"status", "traffic"}) : nullptr;
      if (!traffic || !traffic->is_array()) return routed == nullptr;
      for (const auto& target : traffic->get_array())
        if (target.is_object() && model::text_at(target.get_object(), {"tag"}) == tag &&
            model::text_at(target.get_object(), {"revisionName"}) == revision) {
          url = model::text_at(target.get_object(), {"url"});
          return true;
        }
      return false;
    };
    auto routed = await_object(doors, service_key(deploy.run.name_space, service), is_routed);
    shown = co_await with_deadline(doors.clock, ready_limit_of_deploy, std::move(routed));
  } catch (const DeadlineExceeded&) {
    FailedDeploy late{.because = fmt::format("the preview {} of {} was not ready within {} minutes", tag, service,
                                             ready_limit_of_deploy.count()),
                      .lines = {}};
    late.lines.push_back("error: " + late.because);
    co_return std::unexpected(std::move(late));
  }
  if (!shown) co_return std::unexpected(gone(service));
  DeployedService done{.revision = model::text_at(*configuration, {"status", "latestReadyRevisionName"}),
                       .url = with_port_of(std::move(url), doors.info.listen),
                       .unchanged = number_of(*configuration, {"metadata", "generation"}) == deploy.generation};
  const auto took = std::chrono::duration_cast<milliseconds>(doors.clock.now() - begun);
  auto last =
      done.unchanged ? step_line("unchanged", done.revision) : step_line("preview", done.revision, elapsed_text(took));
  co_await on_line(std::move(last));
  co_return done;
}

}  // namespace

awaitable<std::expected<DeployedService, FailedDeploy>> follow_deploy(const Doors& doors, OrderedDeploy deploy,
                                                                      OnLine on_line) {
  co_await tell_log(doors, deploy, on_line);
  auto has_ended = [](const ObjectValue& run) {
    if (!run) return true;
    const auto status = model::find_condition(*run, "Succeeded").status;
    return status == model::Truth::no ||
           (status == model::Truth::yes &&
            (model::find_value(*run, {"status", "service"}) != nullptr ||
             model::find_value(*run, {"status", "preview"}) != nullptr || is_only_built(*run)));
  };
  const auto run = co_await await_object(doors, deploy.run, has_ended);
  if (!run) co_return std::unexpected(gone("build " + deploy.run.name));
  const auto name = model::text_at(*run, {"metadata", "labels", "wick.dev/service"});
  if (model::find_condition(*run, "Succeeded").status == model::Truth::no)
    co_return std::unexpected(build_failed(name, *run));
  if (is_only_built(*run)) co_return DeployedService{};
  if (model::find_value(*run, {"status", "preview"})) {
    auto shown = co_await follow_preview(doors, std::move(deploy), run, std::move(on_line));
    co_return shown;
  }

  const auto key = service_key(deploy.run.name_space, name);
  const auto begun = doors.clock.now();
  auto is_settled = [](const ObjectValue& service) {
    return !service ||
           (number_of(*service, {"status", "observedGeneration"}) == number_of(*service, {"metadata", "generation"}) &&
            model::find_condition(*service, "Ready").status != model::Truth::unknown);
  };
  ObjectValue service;
  try {
    auto settled = await_object(doors, key, is_settled);
    service = co_await with_deadline(doors.clock, ready_limit_of_deploy, std::move(settled));
  } catch (const DeadlineExceeded&) {
    FailedDeploy late{.because = fmt::format("{} was not ready within {} minutes", name, ready_limit_of_deploy.count()),
                      .lines = {}};
    late.lines.push_back("error: " + late.because);
    co_return std::unexpected(std::move(late));
  }
  if (!service) co_return std::unexpected(gone(name));
  if (model::find_condition(*service, "Ready").status == model::Truth::no)
    co_return std::unexpected(not_ready(doors, key, *service));
  DeployedService done{.revision = model::text_at(*service, {"status", "latestCreatedRevisionName"}),
                       .url = with_port_of(model::text_at(*service, {"status", "url"}), doors.info.listen),
                       .unchanged = number_of(*service, {"metadata", "generation"}) == deploy.generation};
  const auto took = std::chrono::duration_cast<milliseconds>(doors.clock.now() - begun);
  auto last =
      done.unchanged ? step_line("unchanged", done.revision) : step_line("ready", done.revision, elapsed_text(took));
  co_await on_line(std::move(last));
  co_return done;
}

std::string run_of_commit(const Doors& doors, const std::string& name_space, const std::string& service,
                          const std::string& commit, const std::string& preview_branch) {
  std::string newest, found;
  const auto is_of_its_kind = [&](const json::object& run) {
    const auto annotation = [&](std::string_view key) { return model::text_at(run, {"metadata", "annotations", key}); };
    if (preview_branch.empty()) return !annotation(model::names::deploy).empty();
    const auto order = model::parse_preview_order(annotation(model::names::preview));
    return order && order->branch == preview_branch;
  };
  for (const auto& run : doors.objects.list(model::build_run_kind().resource(), name_space)) {
    if (commit.empty() || model::text_at(*run, {"metadata", "labels", "wick.dev/service"}) != service) continue;
    if (!is_of_its_kind(*run)) continue;
    const auto created = model::text_at(*run, {"metadata", "creationTimestamp"});
    if (created < newest) continue;
    if (created > newest) found.clear();
    newest = created;
    const auto built = model::text_at(*run, {"status", "commit"});
    const auto asked = model::text_at(*run, {"metadata", "annotations", "wick.dev/source-commit"});
    const bool failed = model::find_condition(*run, "Succeeded").status == model::Truth::no;
    if (!failed && (built.empty() ? asked : built) == commit) found = model::text_at(*run, {"metadata", "name"});
  }
  return found;
}

}  // namespace wick::api
