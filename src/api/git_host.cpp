#include "api/git_host.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "api/git_push.hpp"
#include "api/wick_views.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/model/metadata.hpp"
#include "wick/os/files.hpp"

namespace wick::api {

namespace {

constexpr std::size_t receiving_at_once = 2;  // git checks every object: a core each
constexpr std::size_t receiving_waiting_max = 32;
constexpr std::size_t git_chunk_bytes = 256 << 10;
constexpr std::uint64_t fetch_request_bytes_max = 16 << 20;  // what a client with a long history says it has
constexpr std::uint64_t push_pack_bytes_max = 1ull << 30;
constexpr std::size_t drained_body_bytes_max = 1 << 20;

/// "hello.git" and "hello" are the repository of hello; nullopt for what no Service can be called.
std::optional<std::string> service_of(std::string name) {
  if (name.ends_with(".git")) name.resize(name.size() - 4);
  if (!model::dns1035_complaint(name).empty()) return std::nullopt;
  return name;
}

http::ResponseHead git_head(std::string_view type) {
  http::ResponseHead head{.status = 200, .fields = {}};
  head.fields.set("Content-Type", std::string(type));
  head.fields.set("Cache-Control", "no-cache");
  return head;
}

awaitable<void> no_repository(http::Exchange& exchange, const std::string& name) {
  co_await respond_git_failure(exchange, 404,
                               fmt::format("there is no service {} whose source was pushed here", printable(name, 63)));
}

std::string protocol_of(const http::Exchange& exchange) {
  return std::string(exchange.head().fields.find("Git-Protocol").value_or(""));
}

/// Of namespaces that were removed and Services that were: their repositories go.
void sweep(const std::filesystem::path& folder, const std::set<std::string>& kept) {
  std::error_code error;
  for (const auto& space : std::filesystem::directory_iterator(folder, error))
    for (const auto& repository : std::filesystem::directory_iterator(space.path(), error))
      if (!kept.contains(repository.path().string()))
        if (auto removed = remove_tree(repository.path()); !removed)
          log::warn("a repository stays", {{"folder", repository.path().string()}, {"error", removed.error().what()}});
}

}  // namespace

awaitable<void> respond_git_failure(http::Exchange& exchange, int status, std::string text) {
  // A client that is writing sees no answer otherwise.
  const auto length = exchange.head().fields.find("Content-Length");
  if (length && parse_unsigned(*length).value_or(0) <= drained_body_bytes_max)
    (void)co_await exchange.read_all(drained_body_bytes_max);
  http::ResponseHead head{.status = status, .fields = {}};
  head.fields.set("Content-Type", "text/plain");  // git shows no other
  if (status == 401) head.fields.set("WWW-Authenticate", "Basic realm=\"wick\"");
  co_await exchange.respond(std::move(head), text + "\n");
}

std::string deployed_branch(const std::vector<build::RefCommand>& commands, std::string_view annotation) {
  const auto named = [&](const std::string& ref) {
    for (const auto& command : commands)
      if (command.ref == ref && !command.deletes()) return true;
    return false;
  };
  std::vector<std::string> candidates{"main", "master"};
  if (!annotation.empty()) candidates = {std::string(annotation)};
  for (const auto& branch : candidates)
    if (named("refs/heads/" + branch)) return branch;
  return {};
}

GitHost::GitHost(const Doors& doors)
    : doors_(doors), receiving_(doors.executor, receiving_at_once, receiving_waiting_max) {}

std::filesystem::path GitHost::folder_of(const std::string& name_space, const std::string& name) const {
  return doors_.git / name_space / (name + ".git");
}

/// An empty repository for a Service that is not there, and none for others that are not.
awaitable<Result<void>> GitHost::begin_anew(std::string name_space, std::string name) {
  std::set<std::string> kept;
  for (const auto& busy : busy_)
    if (busy != folder_of(name_space, name)) kept.insert(busy.string());
  for (const auto& service : doors_.objects.list(model::service_kind().resource()))
    kept.insert(
        folder_of(model::text_at(*service, {"metadata", "namespace"}), model::text_at(*service, {"metadata", "name"}))
            .string());
  auto clear = [folder = doors_.git, kept = std::move(kept)] { sweep(folder, kept); };
  co_await doors_.workers.run(std::move(clear));
  build::GitRepository repository(doors_.clock, folder_of(name_space, name));
  co_return co_await repository.create();
}

awaitable<void> GitHost::list_refs(http::Exchange& exchange, std::string name_space, std::string name, bool may_push) {
  const auto service = http::query_value(exchange.head().query(), "service").value_or("");
  const auto known = service_of(name);
  if (!known || !is_dns_label(name_space)) co_return co_await no_repository(exchange, name);
  const bool pushes = service == "git-receive-pack";
  if (!pushes && service != "git-upload-pack")
    co_return co_await respond_git_failure(exchange, 403, "only git's smart protocol is spoken here");
  if (pushes && !may_push)
    co_return co_await respond_git_failure(exchange, 403,
                                           "this token may not push: wick token create NAME --scope deploy");
  build::GitRepository repository(doors_.clock, folder_of(name_space, *known));
  const bool there = doors_.objects.find({model::service_kind().resource(), name_space, *known}) && repository.exists();
  if (!there && !pushes) co_return co_await no_repository(exchange, *known);
  if (pushes) {
    std::vector<build::AdvertisedRef> refs;
    if (there) {
      auto listed = co_await repository.refs();
      if (!listed)
        co_return co_await respond_git_failure(exchange, http_status(listed.error().code()), listed.error().what());
      for (auto& ref : *listed)
        if (build::is_pushable_ref(ref.name)) refs.push_back(std::move(ref));
    }
    auto body = build::push_advertisement(refs);
    co_await exchange.respond(git_head("application/x-git-receive-pack-advertisement"), std::move(body));
    co_return;
  }
  auto protocol = protocol_of(exchange);
  auto started = co_await exchange.start(git_head("application/x-git-upload-pack-advertisement"));
  if (!started) co_return;
  // With protocol 2 git says what it can and no refs, and clients take that with or without the line before it.
  auto first = co_await exchange.write(build::pkt_line("# service=git-upload-pack\n").append(build::flush_packet));
  if (!first) co_return;
  auto send = [&exchange](std::string_view bytes) { return exchange.write(bytes); };
  auto listed = co_await repository.advertise_fetch(std::move(protocol), send);
  if (!listed) {  // the answer has no end: the client can tell
    log::warn("refs were not listed", {{"repository", *known}, {"error", listed.error().what()}});
    co_return;
  }
  co_await exchange.finish();
}

awaitable<Result<Fd>> GitHost::body_to_file(http::Exchange& exchange, std::string begin, std::uint64_t bytes_max) {
  const auto path = doors_.uploads / ("partial-" + random_hex(8));
  auto open = [folder = doors_.uploads, path, begin = std::move(begin)]() -> Result<Fd> {
    if (auto prepared = prepare_uploads(folder); !prepared) return fail(std::move(prepared.error()));
    auto file = open_file(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (!file) return file;
    ::unlink(path.c_str());  // it goes with its descriptor
    if (auto written = write_all(file->get(), begin); !written) return fail(std::move(written.error()));
    return file;
  };
  auto file = co_await doors_.workers.run(std::move(open));
  if (!file) co_return fail(std::move(file.error()));
  std::uint64_t total = 0;
  std::string chunk(git_chunk_bytes, '\0');
  while (true) {
    auto got = co_await exchange.read_full(chunk);
    if (!got) co_return fail(std::move(got.error()));
    if (*got == 0) break;
    total += *got;
    if (total > bytes_max)
      co_return fail(Errc::too_large, fmt::format("more than {} are not taken", human_bytes(bytes_max)));
    auto store = [bytes = std::string_view(chunk).substr(0, *got), to = file->get()] { return write_all(to, bytes); };
    auto stored = co_await doors_.workers.run(std::move(store));
    if (!stored) co_return fail(std::move(stored.error()));
  }
  if (::lseek(file->get(), 0, SEEK_SET) != 0) co_return fail(system_error("seek", errno));
  co_return std::move(*file);
}

awaitable<void> GitHost::serve_fetch(http::Exchange& exchange, std::string name_space, std::string name) {
  const auto known = service_of(name);
  if (!known || !is_dns_label(name_space)) co_return co_await no_repository(exchange, name);
  build::GitRepository repository(doors_.clock, folder_of(name_space, *known));
  if (!doors_.objects.find({model::service_kind().resource(), name_space, *known}) || !repository.exists())
    co_return co_await no_repository(exchange, *known);
  const auto encoding = exchange.head().fields.find("Content-Encoding").value_or("identity");
  const bool is_gzip = encoding == "gzip" || encoding == "x-gzip";
  auto request = co_await body_to_file(exchange, {}, fetch_request_bytes_max);
  if (!request)
    co_return co_await respond_git_failure(exchange, http_status(request.error().code()), request.error().what());
  auto slot = co_await receiving_.acquire();
  if (!slot) co_return co_await respond_git_failure(exchange, http_status(slot.error().code()), slot.error().what());
  auto protocol = protocol_of(exchange);
  auto started = co_await exchange.start(git_head("application/x-git-upload-pack-result"));
  if (!started) co_return;
  auto send = [&exchange](std::string_view bytes) { return exchange.write(bytes); };
  auto served = co_await repository.serve_fetch(request->get(), is_gzip, std::move(protocol), send);
  if (!served) {
    log::warn("a fetch was not served", {{"repository", *known}, {"error", served.error().what()}});
    co_return;
  }
  co_await exchange.finish();
}

awaitable<void> GitHost::take_push(http::Exchange& exchange, std::string name_space, std::string name) {
  const auto known = service_of(name);
  if (!known || !is_dns_label(name_space)) co_return co_await no_repository(exchange, name);
  if (exchange.head().fields.contains("Content-Encoding"))
    co_return co_await respond_git_failure(exchange, 415, "a push is not taken with a Content-Encoding");
  std::string head;
  std::string chunk(git_chunk_bytes, '\0');
  std::optional<build::ParsedPush> push;
  while (!push) {
    auto got = co_await exchange.read_some(chunk);
    if (!got) co_return co_await respond_git_failure(exchange, http_status(got.error().code()), got.error().what());
    if (*got == 0) co_return co_await respond_git_failure(exchange, 400, "the push ended within its commands");
    head.append(chunk, 0, *got);
    auto parsed = build::parse_push(head);
    if (!parsed)
      co_return co_await respond_git_failure(exchange, http_status(parsed.error().code()), parsed.error().what());
    push = std::move(*parsed);
  }
  if (push->request.commands.empty()) {  // may one push here at all?
    co_await exchange.respond(git_head("application/x-git-receive-pack-result"));
    co_return;
  }
  GitPush receiver(*this, exchange, std::move(name_space), *known, std::move(push->request));
  auto pack = co_await body_to_file(exchange, receiver.head_for_git() + head.substr(push->bytes), push_pack_bytes_max);
  if (!pack) {
    const auto& error = pack.error();
    co_return co_await respond_git_failure(exchange, http_status(error.code()), "the push: " + error.what());
  }
  auto started = co_await exchange.start(git_head("application/x-git-receive-pack-result"));
  if (!started) co_return;
  co_await receiver.run(std::move(*pack));
  co_await exchange.finish();
}

std::vector<Route> git_routes(const Doors& doors, std::function<const Caller&(http::Exchange&)> caller_of) {
  if (doors.git.empty()) return {};
  const auto host = std::make_shared<GitHost>(doors);
  return {
      {"GET", "/git/{ns}/{name}/info/refs", Scope::read,
       [host, caller_of](auto& exchange, auto& match) {
         const Need need{.scope = Scope::deploy, .name_space = match.name_space, .everywhere = false};
         return host->list_refs(exchange, match.name_space, match.names.front(),
                                refusal(caller_of(exchange), need).empty());
       }},
      {"POST", "/git/{ns}/{name}/git-upload-pack", Scope::read,
       [host](auto& exchange, auto& match) {
         return host->serve_fetch(exchange, match.name_space, match.names.front());
       }},
      {"POST", "/git/{ns}/{name}/git-receive-pack", Scope::deploy,
       [host](auto& exchange, auto& match) {
         return host->take_push(exchange, match.name_space, match.names.front());
       }},
  };
}

}  // namespace wick::api
