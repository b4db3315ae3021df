#include "control/subscribing.hpp"

#include <fmt/format.h>

#include "control/event_access.hpp"
#include "control/event_transforms.hpp"
#include "control/mqtt_links.hpp"
#include "control/routes.hpp"
#include "wick/base/text.hpp"
#include "wick/eventing/event_transform.hpp"

namespace wick::control {

namespace {

constexpr std::string_view no_dead_letter_sink = "DeadLetterSinkNotConfigured";

std::unexpected<Error> wrong(std::string_view annotation, std::string_view wanted, const std::string& found) {
  return fail(Errc::invalid, fmt::format("wick.dev/{} must be {}, not '{}'", annotation, wanted, printable(found)));
}

Result<eventing::StartFrom> start_from(const std::string& text) {
  using Where = eventing::StartFrom::Where;
  if (text.empty() || text == "latest") return eventing::StartFrom{};
  if (text == "earliest") return eventing::StartFrom{.where = Where::earliest};
  if (const auto position = parse_unsigned(text))
    return eventing::StartFrom{.where = Where::position, .position = *position};
  if (const auto time = parse_rfc3339(text)) return eventing::StartFrom{.where = Where::time, .time = *time};
  return wrong("start-from", "latest, earliest, a position of the log or an RFC 3339 time", text);
}

std::string namespace_in(const model::Reference& reference, const std::string& name_space) {
  return reference.name_space.empty() ? name_space : reference.name_space;
}

bool is_routed(const model::Kind& kind) { return &kind == &model::service_kind() || &kind == &model::route_kind(); }

std::string with_path(std::string base, std::string_view path) {
  if (path.empty()) return base;
  // A path replaces the base's own (RFC 3986 5.2.2): only that of a broker has one.
  constexpr std::size_t scheme = std::string_view("http://").size();
  base.resize(std::min(base.size(), base.find('/', scheme)));
  return base + (path.starts_with('/') ? "" : "/") + std::string(path);
}

/// Of a flow: the channel that its events enter by.
std::string entrance_of(const model::Kind& kind, const std::string& name) {
  if (&kind == &model::sequence_kind()) return child_name(name, "-kn-sequence-0");
  if (&kind == &model::parallel_kind()) return child_name(name, "-kn-parallel");
  return name;
}

}  // namespace

eventing::Destination to_eventing(const model::Destination& destination, const std::string& name_space) {
  if (!destination.ref || !destination.ref->kind) return {.url = destination.uri};
  const auto& ref = *destination.ref;
  const auto where = namespace_in(ref, name_space);
  if (&*ref.kind == &model::service_kind()) return {.name_space = where, .service = ref.name, .url = destination.uri};
  return {.url = with_path(address_of(*ref.kind, where, ref.name), destination.uri)};
}

eventing::Delivery to_eventing(const model::Delivery& delivery, const std::string& name_space) {
  // Only one of policy and delay given: Knative then does not wait between attempts (eventing.md 1.3).
  const bool waits = delivery.backoff && delivery.backoff_delay;
  eventing::Delivery out{.retry = delivery.retry.value_or(0),
                         .backoff_delay = waits ? *delivery.backoff_delay : 0ms,
                         .timeout = delivery.timeout};
  out.backoff = delivery.backoff == model::Delivery::Backoff::linear ? eventing::Delivery::Backoff::linear
                                                                     : eventing::Delivery::Backoff::exponential;
  out.retry_after_max = delivery.retry_after_max;
  if (delivery.format == model::Delivery::Format::json) out.format = eventing::Delivery::Format::json;
  if (delivery.dead_letter) out.dead_letter = to_eventing(*delivery.dead_letter, name_space);
  return out;
}

Result<void> add_annotated(const model::Metadata& metadata, eventing::TriggerSpec& spec) {
  const auto ordering = metadata.annotation("wick.dev/ordering");
  if (ordering == "key")
    spec.ordering = eventing::TriggerSpec::Ordering::key;
  else if (ordering == "strict")
    spec.ordering = eventing::TriggerSpec::Ordering::strict;
  else if (!ordering.empty() && ordering != "none")
    return wrong("ordering", "none, key or strict", ordering);
  if (const auto most = metadata.annotation("wick.dev/max-in-flight"); !most.empty()) {
    const auto count = parse_unsigned(most);
    if (!count || *count < 1 || *count > 1000) return wrong("max-in-flight", "1..1000", most);
    spec.in_flight_max = static_cast<int>(*count);
  }
  const auto replies = metadata.annotation("wick.dev/replies");
  if (!replies.empty() && replies != "lenient" && replies != "strict")
    return wrong("replies", "lenient or strict", replies);
  spec.lenient_replies = replies == "lenient";
  auto start = start_from(metadata.annotation("wick.dev/start-from"));
  if (!start) return fail(std::move(start.error()));
  spec.start_from = *start;
  return {};
}

std::string channel_host(const std::string& name_space, const std::string& channel) {
  return fmt::format("{}.{}.svc.cluster.local", child_name(channel, "-kn-channel"), name_space);
}

std::string address_of(const model::Kind& kind, const std::string& name_space, const std::string& name) {
  if (is_routed(kind)) return local_url(name_space, name);
  if (&kind == &model::broker_kind())
    return fmt::format("http://broker-ingress.knative-eventing.svc.cluster.local/{}/{}", name_space, name);
  if (&kind == &event_transform_kind())
    return fmt::format("http://{}/{}/{}", eventing::event_transform_host, name_space, name);
  if (is_sink_group(kind.group)) {
    const auto which = &kind == &model::job_sink_kind() ? eventing::SinkKind::job
                       : &kind == &mqtt_sink_kind()     ? eventing::SinkKind::mqtt
                                                        : eventing::SinkKind::integration;
    return fmt::format("http://{}/{}/{}", eventing::sink_host(which), name_space, name);
  }
  return "http://" + channel_host(name_space, entrance_of(kind, name));
}

std::optional<std::string> stream_of(const model::Destination& destination, const std::string& name_space) {
  if (!destination.ref || !destination.ref->kind || !destination.uri.empty()) return std::nullopt;
  const auto& ref = *destination.ref;
  if (is_routed(*ref.kind) || !model::is_addressable(*ref.kind) || ref.kind == &event_transform_kind() ||
      is_sink_group(ref.kind->group))
    return std::nullopt;
  const auto where = namespace_in(ref, name_space) + "/";
  if (ref.kind == &model::broker_kind()) return where + ref.name;
  return where + eventing::channel_stream(entrance_of(*ref.kind, ref.name));
}

Resolved resolve(World& world, const model::Destination& destination, const std::string& name_space) {
  if (!destination.ref) return {destination.uri, {}};
  const auto& ref = *destination.ref;
  if (!ref.kind || !model::is_addressable(*ref.kind))
    return {{}, fmt::format("{} is nothing that takes events here", ref.written)};
  const auto where = namespace_in(ref, name_space);
  const auto found = world.objects().find(key_of(*ref.kind, where, ref.name));
  if (!found) return {{}, fmt::format("{} \"{}\" not found", ref.kind->resource(), ref.name)};
  return {with_path(address_of(*ref.kind, where, ref.name), destination.uri), {}};
}

void judge_dead_letter(World& world, const std::optional<model::Delivery>& delivery, const std::string& name_space,
                       model::Conditions& conditions, json::object& status) {
  if (!delivery || !delivery->dead_letter) {
    conditions.mark_true("DeadLetterSinkResolved", std::string(no_dead_letter_sink),
                         "No dead letter sink is configured.");
    return;
  }
  const auto resolved = resolve(world, *delivery->dead_letter, name_space);
  if (resolved.problem.empty()) {
    conditions.mark_true("DeadLetterSinkResolved");
    status["deadLetterSinkUri"] = resolved.uri;
  } else {
    conditions.mark_false("DeadLetterSinkResolved", "Unable to get the DeadLetterSink's URI", resolved.problem);
  }
}

json::object reference_to(const model::Kind& kind, const std::string& name_space, const std::string& name) {
  return {{"apiVersion", kind.api_version()}, {"kind", kind.kind}, {"name", name}, {"namespace", name_space}};
}

awaitable<Result<void>> write_status(World& world, ObjectKey key, json::object status) {
  auto written = co_await world.objects().update_status(std::move(key), std::move(status));
  if (!written && written.error().code() != Errc::not_found) co_return fail(std::move(written.error()));
  co_return Result<void>();
}

}  // namespace wick::control
