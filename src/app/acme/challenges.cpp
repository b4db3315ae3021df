#include "app/acme/challenges.hpp"

#include <fmt/format.h>

#include "app/acme/certificates.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/os/child_process.hpp"
#include "wick/os/deadline.hpp"

namespace wick::app::acme {

namespace {

constexpr std::string_view well_known = "/.well-known/acme-challenge/";
constexpr auto hook_limit = std::chrono::minutes(10);  // records take minutes to spread
constexpr std::size_t hook_output_max = 4 << 10;

awaitable<void> send_key_authorization(http::Exchange& exchange, std::string text) {
  http::ResponseHead head{.status = 200, .fields = {{"Content-Type", "application/octet-stream"}}};
  co_await exchange.respond(std::move(head), std::move(text));
}

std::string last_line(std::string_view output) {
  output = trim(output);
  return printable(output.substr(output.rfind('\n') + 1));
}

}  // namespace

Challenges::Challenges(Executor executor, Clock& clock, ShowCertificates show_certificates, std::string hook)
    : executor_(executor),
      clock_(clock),
      show_certificates_(std::move(show_certificates)),
      hook_(std::move(hook)),
      tasks_(executor) {}

awaitable<void> Challenges::stop() { co_await tasks_.stop(); }

awaitable<Result<Shown>> Challenges::show(Proof proof) {
  if (proof.type == "dns-01" && !hook_.empty()) co_return co_await show_record(std::move(proof));
  if (proof.type == "http-01") {
    const std::lock_guard lock(lock_);
    files_[proof.token] = {.host = proof.host, .key_authorization = proof.key_authorization};
    any_file_.store(true, std::memory_order_release);
    co_return Shown([this, token = proof.token] {
      const std::lock_guard again(lock_);
      files_.erase(token);
      any_file_.store(!files_.empty(), std::memory_order_release);
    });
  }
  if (proof.type == "tls-alpn-01") {
    auto certificate = challenge_certificate(proof.host, proof.key_authorization, clock_.wall());
    if (!certificate) co_return fail(std::move(certificate.error()));
    certificates_.insert_or_assign(proof.host, std::move(*certificate));
    show_certificates_(certificates_);
    co_return Shown([this, host = proof.host] {
      certificates_.erase(host);
      show_certificates_(certificates_);
    });
  }
  co_return fail(Errc::unsupported, fmt::format("no challenge {} can be shown here", proof.type),
                 "dns-01 needs a program that sets the record: --acme-hook");
}

awaitable<Result<Shown>> Challenges::show_record(Proof proof) {
  const auto name = fmt::format("_acme-challenge.{}.", proof.host);
  const auto value = base64url_encode(sha256(proof.key_authorization));
  auto set = co_await run_hook("present", name, value);
  if (!set) co_return fail(std::move(set.error()));
  co_return Shown([this, name, value] { tasks_.spawn("acme hook", clean_up(name, value)); });
}

awaitable<void> Challenges::clean_up(std::string name, std::string value) {
  auto cleaned = co_await run_hook("cleanup", name, value);
  if (!cleaned) log::warn("an ACME record was not cleaned up", {{"name", name}, {"error", cleaned.error().what()}});
}

awaitable<Result<void>> Challenges::run_hook(std::string verb, std::string name, std::string value) {
  ProcessOptions options{.argv = {hook_, verb, name, value}, .environment = {}, .working_folder = "/", .extra_fds = {}};
  try {
    auto running = run_process(std::move(options), hook_output_max);
    auto finished = co_await with_deadline(clock_, hook_limit, std::move(running));
    if (!finished) co_return fail(std::move(finished.error()).within("--acme-hook"));
    if (!finished->status.ok())
      co_return fail(Errc::denied, fmt::format("{} {} {} ended with {}: {}", hook_, verb, name, finished->status.text(),
                                               last_line(finished->output)));
  } catch (const DeadlineExceeded&) {
    co_return fail(Errc::timed_out,
                   fmt::format("{} {} {} took longer than {} minutes", hook_, verb, name, hook_limit.count()));
  }
  co_return Result<void>{};
}

std::optional<std::string> Challenges::find(const http::RequestHead& head) const {
  if (head.method != "GET" && head.method != "HEAD") return std::nullopt;
  const auto path = head.path();
  if (!path.starts_with(well_known)) return std::nullopt;
  const std::lock_guard lock(lock_);
  const auto found = files_.find(path.substr(well_known.size()));
  if (found == files_.end() || found->second.host != head.host()) return std::nullopt;
  return found->second.key_authorization;
}

http::Handler Challenges::answering(http::Handler inner) {
  return [this, inner = std::move(inner)](http::Exchange& exchange) -> awaitable<void> {
    if (!any_file_.load(std::memory_order_acquire)) return inner(exchange);
    auto found = find(exchange.head());
    return found ? send_key_authorization(exchange, std::move(*found)) : inner(exchange);
  };
}

}  // namespace wick::app::acme
