// A delivery of a forge: the value of its fields in the first line, its body behind.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "api/webhook_event.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace wick::api;
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  const auto end = bytes.find('\n');
  const auto body = end == bytes.npos ? std::string() : bytes.substr(end + 1);
  const auto first = bytes.substr(0, end);
  wick::http::Fields fields;
  for (const auto* name : {"X-Hub-Signature-256", "X-Gitlab-Token", "X-GitHub-Event", "X-Gitlab-Event", "X-Gitea-Event",
                           "X-GitHub-Delivery", "Content-Type"})
    fields.add(name, first);
  const std::string secret = "a secret that no input has";
  for (const auto forge : {Forge::github, Forge::gitlab, Forge::gitea, Forge::generic}) {
    (void)event_of(forge, fields);
    if (check_signature(forge, secret, fields, body)) std::abort();
    // Whatever was delivered can be stored.
    if (!wick::eventing::validate(event_of_delivery(forge, fields, body, "/own"))) std::abort();
  }
  const auto push = parse_push_event(body);
  if (push && !push->commit.empty() && push->commit.size() != 40) std::abort();
  return 0;
}
