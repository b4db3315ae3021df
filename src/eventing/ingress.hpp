// POST /NAMESPACE/BROKER and its kin: the answers of Knative's broker ingress (pkg/broker/ingress/ingress_handler.go),
// but 202 means on disk.
//
// Order of checks: method, path, memory, body, event, broker, loop budget, backlog, duplicate, commit. Who
// sends is asked once the broker is known.
#pragma once

#include <map>
#include <memory>
#include <optional>

#include "dedup.hpp"
#include "dispatcher.hpp"
#include "gate.hpp"
#include "log.hpp"
#include "wick/http/handler.hpp"

namespace wick::eventing {

/// Nothing for the host of anything else.
std::string_view sink_folder_at(std::string_view host);

class Ingress {
 public:
  Ingress(Clock& clock, Log& log, Dispatcher& dispatcher, const Gate& gate, Metrics& metrics, Eventing::Limits limits)
      : clock_(clock), log_(log), dispatcher_(dispatcher), gate_(gate), metrics_(metrics), limits_(limits) {}

  awaitable<void> handle(http::Exchange& exchange, Sender sender);
  /// nullopt when the request names no stream or sink that is there.
  awaitable<std::optional<http::Response>> accept(http::Request request, Sender sender);
  awaitable<Result<void>> emit(std::string stream, CloudEvent event, std::optional<SourceMark> mark, Sender sender);

  void set_sink(SinkSpec sink);
  void remove_sink(const std::string& name) { sinks_.erase(name); }
  void on_status_request(std::function<http::Response(const std::string&)> answer) { status_ = std::move(answer); }

 private:
  /// What is answered; an empty text has no body.
  struct Answer {
    int status = 202;
    std::string text;
    http::Fields fields;
  };
  awaitable<Answer> receive(http::Exchange& exchange, Sender sender);
  /// What the path names, or at "/" the host; nullopt when that cannot be the name of a stream.
  std::optional<std::string> stream_of(const http::RequestHead& head) const;
  awaitable<Answer> take(std::string broker, const http::Fields& fields, std::string body, Sender sender);
  http::ResponseHead head_of(Answer& answer);
  awaitable<Answer> accept(std::string broker, const http::Fields& fields, std::vector<CloudEvent> events,
                           const Sender& sender);
  awaitable<Answer> hand_over(std::shared_ptr<const SinkSpec> sink, const http::Fields& fields,
                              std::vector<CloudEvent> events, const Sender& sender);
  static Answer answer_to(const Error& error);
  static Answer answer_to(const Gate::Refusal& refusal);
  awaitable<Result<void>> store(const BrokerSpec& broker, std::vector<StoredEvent> events);
  DedupWindow& window_of(const std::string& broker, std::chrono::seconds length);
  Counter& counter_of(int status);

  Clock& clock_;
  Log& log_;
  Dispatcher& dispatcher_;
  const Gate& gate_;
  std::map<std::string, std::shared_ptr<const SinkSpec>> sinks_;
  std::function<http::Response(const std::string&)> status_;
  Metrics& metrics_;
  Eventing::Limits limits_;
  std::size_t body_bytes_ = 0;  // promised to requests whose body is being read
  std::map<std::string, DedupWindow> windows_;
  std::map<int, Counter*> counters_;
};

}  // namespace wick::eventing
