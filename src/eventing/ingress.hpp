// POST /NAMESPACE/BROKER and its kin: the answers of Knative's broker ingress (pkg/broker/ingress/ingress_handler.go),
// but 202 means on disk.
//
// Order of checks: method, path, memory, body, event, broker, loop budget, backlog, duplicate, commit.
#pragma once

#include <map>

#include "dedup.hpp"
#include "dispatcher.hpp"
#include "log.hpp"
#include "wick/http/handler.hpp"

namespace wick::eventing {

class Ingress {
 public:
  Ingress(Clock& clock, Log& log, Dispatcher& dispatcher, Metrics& metrics, Eventing::Limits limits)
      : clock_(clock), log_(log), dispatcher_(dispatcher), metrics_(metrics), limits_(limits) {}

  awaitable<void> handle(http::Exchange& exchange);
  /// nullopt when the request names no stream that is there.
  awaitable<std::optional<http::Response>> accept(http::Request request);
  awaitable<Result<void>> emit(std::string stream, CloudEvent event, std::optional<SourceMark> mark);

 private:
  /// What is answered; an empty text has no body.
  struct Answer {
    int status = 202;
    std::string text;
    http::Fields fields;
  };
  awaitable<Answer> receive(http::Exchange& exchange);
  /// What the path names, or at "/" the host; nullopt when that cannot be the name of a stream.
  std::optional<std::string> stream_of(const http::RequestHead& head) const;
  awaitable<Answer> take(std::string broker, const http::Fields& fields, std::string body);
  http::ResponseHead head_of(Answer& answer);
  awaitable<Answer> accept(std::string broker, const http::Fields& fields, std::vector<CloudEvent> events);
  static Answer answer_to(const Error& error);
  awaitable<Result<void>> store(const BrokerSpec& broker, std::vector<StoredEvent> events);
  DedupWindow& window_of(const std::string& broker, std::chrono::seconds length);
  Counter& counter_of(int status);

  Clock& clock_;
  Log& log_;
  Dispatcher& dispatcher_;
  Metrics& metrics_;
  Eventing::Limits limits_;
  std::size_t body_bytes_ = 0;  // promised to requests whose body is being read
  std::map<std::string, DedupWindow> windows_;
  std::map<int, Counter*> counters_;
};

}  // namespace wick::eventing
