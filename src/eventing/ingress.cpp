#include "ingress.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "wick/base/text.hpp"
#include "wick/eventing/event_transform.hpp"

namespace wick::eventing {

namespace {

constexpr const char* retry_soon = "1";    // seconds: a queue that is full now is not in a moment
constexpr const char* retry_later = "10";  // a disk that is full stays so for a while

/// knative/eventing pkg/utils/headers.go, and W3C trace context.
bool goes_on(std::string_view name) {
  const std::string lower = to_lower(name);
  return lower == "x-request-id" || lower == "traceparent" || lower == "tracestate" || lower.starts_with("knative-") ||
         lower.starts_with("x-b3-");
}

http::Fields passed_on(const http::Fields& fields) {
  http::Fields passed;
  for (const auto& field : fields)
    if (goes_on(field.name)) passed.add(field.name, field.value);
  return passed;
}

struct SinkPlace {
  std::string_view folder;
  std::string_view host;
};
constexpr SinkPlace sink_places[]{{"jobsinks", "job-sink.knative-eventing.svc.cluster.local"},
                                  {"integrationsinks", "integration-sink.knative-eventing.svc.cluster.local"},
                                  {"mqttsinks", "mqtt-sink.knative-eventing.svc.cluster.local"},
                                  {"eventtransforms", event_transform_host}};

const SinkPlace& place_of(SinkKind kind) {
  return sink_places[kind == SinkKind::job ? 0 : kind == SinkKind::integration ? 1 : 2];
}

bool is_sink_folder(std::string_view folder) {
  return std::ranges::find(sink_places, folder, &SinkPlace::folder) != std::end(sink_places);
}

/// "/ns/broker" or "/ns/broker/", and the same of "/ns/channels/name" and "/ns/jobsinks/name"; nullopt for another
/// shape. A query is part of the name, as in Knative, and so names no broker.
std::optional<std::string> broker_in(std::string_view target) {
  if (target.starts_with('/')) target.remove_prefix(1);
  if (target.ends_with('/')) target.remove_suffix(1);
  const auto parts = split(target, '/');
  const bool deeper = parts.size() == 3 && (parts[1] == "channels" || is_sink_folder(parts[1])) && !parts[2].empty();
  if (!deeper && parts.size() != 2) return std::nullopt;
  if (parts[0].empty() || parts[1].empty()) return std::nullopt;
  return std::string(target);
}

/// "/ns/name" at the host of a kind of sinks.
std::optional<std::string> sink_in(std::string_view folder, std::string_view target) {
  const auto named = broker_in(target);
  if (!named || std::ranges::count(*named, '/') != 1) return std::nullopt;
  const auto slash = named->find('/');
  return fmt::format("{}{}/{}", named->substr(0, slash + 1), folder, named->substr(slash + 1));
}

bool names_sink(std::string_view stream) {
  const auto parts = split(stream, '/');
  return parts.size() == 3 && is_sink_folder(parts[1]);
}

/// "Bearer TOKEN" (RFC 6750 2.1).
std::string bearer_token(const http::Fields& fields) {
  const auto field = fields.find("Authorization");
  constexpr std::string_view scheme = "bearer ";
  if (!field || !iequals(field->substr(0, scheme.size()), scheme)) return {};
  return std::string(trim(field->substr(scheme.size())));
}

constexpr std::string_view path_hint = "/NAMESPACE/BROKER or /NAMESPACE/channels/CHANNEL";

/// Memory promised to a request while its body is read and stored.
class Promise {
 public:
  Promise(std::size_t& total, std::size_t bytes) : total_(total), bytes_(bytes) { total_ += bytes_; }
  Promise(const Promise&) = delete;
  ~Promise() { total_ -= bytes_; }

 private:
  std::size_t& total_;
  std::size_t bytes_;
};

/// What a body may take: its Content-Length, or the limit where it does not say.
std::size_t expected_bytes(const http::Fields& fields, std::size_t most) {
  const auto length = fields.find("Content-Length");
  const auto count = length ? parse_unsigned(*length) : std::nullopt;
  return count ? std::min<std::size_t>(*count, most) : most;
}

}  // namespace

std::string sink_name(SinkKind kind, std::string_view name) {
  return fmt::format("{}/{}", place_of(kind).folder, name);
}

std::string_view sink_host(SinkKind kind) { return place_of(kind).host; }

std::string event_transform_sink(std::string_view name) { return fmt::format("{}/{}", sink_places[3].folder, name); }

std::string_view sink_folder_at(std::string_view host) {
  const auto found = std::ranges::find(sink_places, host.substr(0, host.find(':')), &SinkPlace::host);
  return found == std::end(sink_places) ? std::string_view() : found->folder;
}

void Ingress::set_sink(SinkSpec sink) {
  auto name = sink.name_space + "/" + sink.name;
  sinks_[std::move(name)] = std::make_shared<const SinkSpec>(std::move(sink));
}

Counter& Ingress::counter_of(int status) {
  Counter*& counter = counters_[status];
  if (counter == nullptr)
    counter = &metrics_.counter("wick_event_requests_total", "Requests to the broker ingress.",
                                {{"status", std::to_string(status)}});
  return *counter;
}

/// Counts the answer, and makes its text a body.
http::ResponseHead Ingress::head_of(Answer& answer) {
  counter_of(answer.status).add();
  http::ResponseHead head{.status = answer.status, .fields = std::move(answer.fields)};
  head.fields.set("Allow", "POST, OPTIONS");
  if (!answer.text.empty() && !head.fields.contains("Content-Type")) {
    head.fields.set("Content-Type", "text/plain; charset=utf-8");
    answer.text += "\n";
  }
  return head;
}

awaitable<void> Ingress::handle(http::Exchange& exchange, Sender sender) {
  Answer answer = co_await receive(exchange, std::move(sender));
  http::ResponseHead head = head_of(answer);
  co_await exchange.respond(std::move(head), std::move(answer.text));
}

std::optional<std::string> Ingress::stream_of(const http::RequestHead& head) const {
  if (const auto folder = sink_folder_at(head.authority); !folder.empty()) return sink_in(folder, head.target);
  if (head.target != "/") return broker_in(head.target);
  std::string stream = dispatcher_.stream_at(head.authority);
  return stream.empty() ? std::nullopt : std::optional(std::move(stream));
}

awaitable<std::optional<http::Response>> Ingress::accept(http::Request request, Sender sender) {
  auto stream = stream_of(request.head);
  if (!stream || (!dispatcher_.has_broker(*stream) && !sinks_.contains(*stream))) co_return std::nullopt;
  Answer answer{.status = 413, .text = fmt::format("an event is at most {} bytes", limits_.event_bytes_max)};
  if (request.body.size() <= limits_.event_bytes_max)
    answer = co_await take(std::move(*stream), request.head.fields, std::move(request.body), std::move(sender));
  http::Response response{.head = head_of(answer), .body = std::move(answer.text)};
  co_return response;
}

awaitable<Ingress::Answer> Ingress::receive(http::Exchange& exchange, Sender sender) {
  const auto& head = exchange.head();
  if (head.method == "GET" && status_ && head.target.starts_with("/namespaces/")) {
    auto told = status_(head.target);
    co_return Answer{told.head.status, std::move(told.body), std::move(told.head.fields)};
  }
  if (head.method == "OPTIONS")
    co_return Answer{200, {}, {{"WebHook-Allowed-Origin", "*"}, {"WebHook-Allowed-Rate", "*"}}};
  if (head.method != "POST") co_return Answer{405, "events are sent with POST"};
  auto broker = stream_of(head);
  if (!broker && head.target == "/") co_return Answer{404, fmt::format("send events to {}", path_hint)};
  if (!broker) co_return Answer{400, fmt::format("the path must be {}, not '{}'", path_hint, printable(head.target))};
  const std::size_t expected = expected_bytes(head.fields, limits_.event_bytes_max);
  if (body_bytes_ + log_.waiting_bytes() + expected > limits_.waiting_bytes_max)
    co_return Answer{429, "too many events are being received", {{"Retry-After", retry_soon}}};
  const Promise promise(body_bytes_, expected);
  auto body = co_await exchange.read_all(limits_.event_bytes_max);
  if (!body) co_return answer_to(body.error());
  co_return co_await take(std::move(*broker), head.fields, std::move(*body), std::move(sender));
}

awaitable<Ingress::Answer> Ingress::take(std::string broker, const http::Fields& fields, std::string body,
                                         Sender sender) {
  auto events = decode_message(fields, body);
  if (!events) co_return answer_to(events.error());
  if (sender.token.empty()) sender.token = bearer_token(fields);
  const http::Fields passed = passed_on(fields);
  if (names_sink(broker)) {
    const auto found = sinks_.find(broker);
    // Knative's job-sink answers so, where its brokers answer 404.
    if (found == sinks_.end()) co_return Answer{400, fmt::format("there is no sink {}", printable(broker))};
    auto sink = found->second;
    co_return co_await hand_over(std::move(sink), passed, std::move(*events), sender);
  }
  co_return co_await accept(std::move(broker), passed, std::move(*events), sender);
}

awaitable<Ingress::Answer> Ingress::hand_over(std::shared_ptr<const SinkSpec> sink, const http::Fields& fields,
                                              std::vector<CloudEvent> events, const Sender& sender) {
  if (events.size() != 1) co_return Answer{400, "a sink takes one event a request, not a batch"};
  if (const auto refusal = gate_.check(sink->name_space + "/" + sink->name, sender, events.front()))
    co_return answer_to(*refusal);
  auto taken = co_await sink->take(std::move(events.front()), fields);
  co_return Answer{taken.head.status, std::move(taken.body), std::move(taken.head.fields)};
}

awaitable<Ingress::Answer> Ingress::accept(std::string broker, const http::Fields& fields,
                                           std::vector<CloudEvent> events, const Sender& sender) {
  const BrokerSpec* spec = dispatcher_.broker(broker);
  if (!spec) co_return Answer{404, fmt::format("there is no broker or channel {}", printable(broker))};
  for (const CloudEvent& event : events)
    if (const auto refusal = gate_.check(broker, sender, event)) co_return answer_to(*refusal);
  std::vector<StoredEvent> admitted;
  admitted.reserve(events.size());
  for (CloudEvent& event : events) {
    StoredEvent stored{.broker = broker, .received = clock_.wall(), .event = std::move(event), .fields = fields};
    if (!admit(stored.event, stored.received))
      co_return Answer{400, fmt::format("the event went around {} times (knativebrokerttl): dropped", ttl_max)};
    admitted.push_back(std::move(stored));
  }
  if (admitted.empty()) co_return Answer{};  // an empty batch
  if (dispatcher_.backlog_is_full(broker))
    co_return Answer{429, "too many events wait for a trigger that does not keep up", {{"Retry-After", retry_soon}}};
  auto stored = co_await store(*spec, std::move(admitted));
  if (!stored) co_return answer_to(stored.error());
  co_return Answer{};
}

awaitable<Result<void>> Ingress::emit(std::string stream, CloudEvent event, std::optional<SourceMark> mark,
                                      Sender sender) {
  if (auto valid = validate(event); !valid) co_return valid;
  if (!dispatcher_.has_broker(stream))
    co_return fail(Errc::not_found, fmt::format("there is no broker or channel {}", printable(stream)));
  if (gate_.has_rules(stream))
    if (auto refusal = gate_.check(stream, sender, event)) co_return fail(std::move(refusal->error));
  if (dispatcher_.backlog_is_full(stream))
    co_return fail(Errc::overloaded, "too many events wait for a trigger that does not keep up");
  StoredEvent stored{.broker = std::move(stream), .received = clock_.wall(), .event = std::move(event)};
  admit(stored.event, stored.received);  // it has its whole loop budget yet
  Log::Work with = mark ? Log::put_mark(std::move(mark->source), mark->at) : Log::Work();
  std::vector<StoredEvent> events;
  events.push_back(std::move(stored));
  co_return co_await log_.append(std::move(events), std::move(with));
}

/// Made when the first event comes after the start: from what the log's tail holds of the window's time.
DedupWindow& Ingress::window_of(const std::string& broker, std::chrono::seconds length) {
  const auto [found, fresh] = windows_.try_emplace(broker, length);
  found->second.set_length(length);
  if (!fresh) return found->second;
  const WallTime oldest = clock_.wall() - length;
  for (Position position = log_.first_after(oldest); position < log_.newest();) {
    const auto places = log_.scan(position, 1000);
    if (places.empty()) break;
    for (const auto& place : places)
      if (place.broker == broker)
        if (const auto event = log_.read(place.position)) found->second.add(event->event, event->received);
    position = places.back().position;
  }
  return found->second;
}

awaitable<Result<void>> Ingress::store(const BrokerSpec& broker, std::vector<StoredEvent> events) {
  if (!broker.dedup_window) co_return co_await log_.append(std::move(events));
  DedupWindow& window = window_of(events.front().broker, *broker.dedup_window);
  std::vector<StoredEvent> fresh, known;
  for (StoredEvent& event : events) {
    const bool is_new = window.add(event.event, event.received);
    (is_new ? fresh : known).push_back(std::move(event));
  }
  std::vector<CloudEvent> added;
  for (const StoredEvent& event : fresh) added.push_back(event.event);
  // An append of nothing waits for the commit that the first of a pair may still be in.
  auto stored = co_await log_.append(std::move(fresh));
  if (!stored) {
    for (const CloudEvent& event : added) window.forget(event);
    co_return stored;
  }
  std::erase_if(known, [&](const StoredEvent& event) { return window.contains(event.event); });
  if (!known.empty()) co_return co_await log_.append(std::move(known));
  co_return stored;
}

Ingress::Answer Ingress::answer_to(const Gate::Refusal& refusal) {
  const auto& error = refusal.error;
  Answer answer{refusal.status, error.hint().empty() ? error.what() : error.what() + "\nhint: " + error.hint()};
  if (refusal.status == 401) answer.fields.set("WWW-Authenticate", "Bearer");
  return answer;
}

Ingress::Answer Ingress::answer_to(const Error& error) {
  const std::string text = error.hint().empty() ? error.what() : error.what() + "\nhint: " + error.hint();
  switch (error.code()) {
    case Errc::invalid:
      return {400, text};
    case Errc::timed_out:
      return {408, text};
    case Errc::overloaded:
      return {429, text, {{"Retry-After", retry_soon}}};
    case Errc::too_large:
      // The same code for a body over the limit and for a full disk: only the first is the sender's to mend.
      if (error.message().starts_with("disk full")) return {503, text, {{"Retry-After", retry_later}}};
      return {413, text};
    case Errc::io:
    case Errc::corrupt:
      return {503, text, {{"Retry-After", retry_later}}};
    default:
      return {500, text};
  }
}

}  // namespace wick::eventing
