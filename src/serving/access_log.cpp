#include "access_log.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <iterator>

#include "wick/base/log.hpp"
#include "wick/base/text.hpp"

namespace wick::serving {

namespace {

constexpr std::size_t value_bytes_max = 2048;  // of a value that the client chose
constexpr Duration flush_after = 500ms;

/// As a JSON string. Bytes that are not UTF-8 are written as text (\xNN): the line is read by programs.
void append_text(std::string& line, std::string_view text) {
  const bool plain = text.size() <= value_bytes_max &&
                     std::ranges::all_of(text, [](char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; });
  if (plain)
    line.append("\"").append(text).append("\"");
  else
    line += boost::json::serialize(boost::json::string_view(printable(text, value_bytes_max)));
}

void append_member(std::string& line, std::string_view name, std::string_view text) {
  line.append(",\"").append(name).append("\":");
  append_text(line, text);
}

/// The trace id of W3C trace context ("00-<32 hex>-…"), or of B3.
std::string_view trace_id(const http::RequestHead& head) {
  if (const auto parent = head.fields.find("traceparent"); parent && parent->size() >= 35) return parent->substr(3, 32);
  return head.fields.find("X-B3-TraceId").value_or("");
}

}  // namespace

void append_access_line(std::string& line, const http::Exchange& exchange, const RequestRecord& record,
                        const RevisionSpec& revision) {
  const auto& head = exchange.head();
  const auto seconds_of = [](Duration duration) { return std::chrono::duration<double>(duration).count(); };
  const auto into = std::back_inserter(line);
  fmt::format_to(into, "{{\"time\":\"{}\",\"httpRequest\":{{\"requestMethod\":", to_rfc3339_nano(record.when));
  append_text(line, head.method);
  append_member(line, "requestUrl", head.target);
  fmt::format_to(into, ",\"requestSize\":\"{}\",\"status\":{},\"responseSize\":\"{}\"", record.request_bytes,
                 record.status, record.response_bytes);
  append_member(line, "userAgent", head.fields.find("User-Agent").value_or(""));
  append_member(line, "remoteIp", exchange.peer());
  append_member(line, "serverIp", "127.0.0.1");  // every instance's own loopback
  append_member(line, "referer", head.fields.find("Referer").value_or(""));
  fmt::format_to(into, ",\"latency\":\"{:.6f}s\",\"protocol\":\"HTTP/1.{}\"}}", seconds_of(record.total),
                 head.minor_version);
  append_member(line, "traceId", trace_id(head));
  append_member(line, "requestId", record.id);
  append_member(line, "host", head.authority);
  append_member(line, "namespace", revision.key.name_space);
  append_member(line, "service", revision.service);
  append_member(line, "configuration", revision.configuration);
  append_member(line, "revision", revision.key.name);
  append_member(line, "routeTag", record.tag);
  append_member(line, "instance", record.instance.text());
  fmt::format_to(into, ",\"queued\":\"{:.6f}s\",\"coldStart\":{}}}\n", seconds_of(record.queued), record.cold);
}

void AccessLog::write(const http::Exchange& exchange, const RequestRecord& record, const RevisionSpec& revision) {
  append_access_line(gathered_, exchange, record, revision);
  if (gathered_.size() >= gathered_bytes_max) return flush();
  if (std::exchange(flushing_, true)) return;
  tasks_.spawn("access log", flush_soon());
}

awaitable<void> AccessLog::flush_soon() {
  co_await clock_.sleep(flush_after);
  flushing_ = false;
  flush();
}

void AccessLog::flush() {
  std::string_view left = gathered_;
  while (!left.empty()) {
    const auto written = ::write(file_.get(), left.data(), left.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      if (!std::exchange(failed_, true))
        log::warn("access log not written", {{"error", system_error("write", errno).what()}});
      break;
    }
    left.remove_prefix(static_cast<std::size_t>(written));
  }
  gathered_.clear();
}

awaitable<void> AccessLog::stop() {
  co_await tasks_.stop();
  flush();
}

}  // namespace wick::serving
