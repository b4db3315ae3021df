#include "api/git_push.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <boost/json/serialize.hpp>

#include "api/wick_views.hpp"
#include "wick/base/digest.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/control/previews.hpp"
#include "wick/model/object_reader.hpp"
#include "wick/os/files.hpp"

namespace wick::api {

namespace {

constexpr std::string_view heads = "refs/heads/";
constexpr std::string_view incoming_refs = "refs/wick/incoming/";
const std::string no_object(40, '0');

std::string short_name(std::string_view ref) {
  const auto second = ref.find('/', ref.find('/') + 1);
  return std::string(ref.substr(second + 1));
}

}  // namespace

GitPush::GitPush(GitHost& host, http::Exchange& exchange, std::string name_space, std::string name,
                 build::PushRequest request)
    : host_(host),
      doors_(host.doors_),
      exchange_(exchange),
      name_space_(std::move(name_space)),
      name_(std::move(name)),
      request_(std::move(request)),
      repository_(doors_.clock, host.folder_of(name_space_, name_)) {
  const auto number = random_hex(8);
  for (auto& command : request_.commands) {
    Ref ref{.command = command, .incoming = fmt::format("{}{}/{}", incoming_refs, number, refs_.size()), .reason = {}};
    if (!build::is_pushable_ref(command.ref)) ref.reason = "only branches and tags are taken, of usual names";
    refs_.push_back(std::move(ref));
  }
  locked_ = host_.busy_.insert(repository_.folder()).second;
}

GitPush::~GitPush() {
  if (locked_) host_.busy_.erase(repository_.folder());
}

std::string GitPush::head_for_git() const {
  build::PushRequest head{.shallow = request_.shallow, .commands = {}};
  for (const auto& ref : refs_)
    if (!ref.command.deletes())
      head.commands.push_back({.old_id = no_object, .new_id = ref.command.new_id, .ref = ref.incoming});
  return build::to_wire(head);
}

void GitPush::refuse_all(const std::string& reason) {
  for (auto& ref : refs_)
    if (ref.reason.empty()) ref.reason = reason;
}

bool GitPush::is_any_left() const {
  return std::ranges::any_of(refs_, [](const Ref& ref) { return ref.reason.empty(); });
}

GitPush::Ref* GitPush::deployed() {
  for (auto& ref : refs_)
    if (!branch_.empty() && ref.command.ref == std::string(heads) + branch_) return &ref;
  return nullptr;
}

/// A pusher that went away is not told; what was begun goes on.
awaitable<void> GitPush::say(std::string line) {
  if (!request_.side_band) co_return;
  (void)co_await exchange_.write(build::side_band(build::SideBand::progress, line + "\n"));
}

awaitable<void> GitPush::report(const std::string& unpack_reason) {
  std::vector<build::RefReport> reports;
  for (const auto& ref : refs_) reports.push_back({.ref = ref.command.ref, .reason = ref.reason});
  const auto text = request_.report_status ? build::push_report(unpack_reason, reports) : std::string();
  if (!request_.side_band) {
    (void)co_await exchange_.write(text);
    co_return;
  }
  auto packets = text.empty() ? std::string() : build::side_band(build::SideBand::report, text);
  (void)co_await exchange_.write(packets.append(build::flush_packet));
}

awaitable<void> GitPush::run(Fd pack) {
  if (!locked_) {
    const auto reason = fmt::format("another push to {} is being deployed", name_);
    refuse_all(reason);
    co_await say(fmt::format("{}; push again when it has ended", reason));
    co_return co_await report({});
  }
  auto decided = co_await decide(std::move(pack));
  if (!decided) {
    const auto reason = decided.error().what();
    refuse_all("the push was not taken");
    co_await say("error: " + reason);
    if (!decided.error().hint().empty()) co_await say("  hint: " + decided.error().hint());
    co_return co_await report(reason);
  }
  co_await report({});
}

/// An error: nothing of the push was taken.
awaitable<Result<void>> GitPush::decide(Fd pack) {
  auto options = parse_push_options(request_.options);
  if (!options) co_return fail(std::move(options.error()));
  options_ = std::move(*options);
  const bool has_service = doors_.objects.find({model::service_kind().resource(), name_space_, name_}) != nullptr;
  auto there = has_service ? co_await repository_.create() : co_await host_.begin_anew(name_space_, name_);
  if (!there) co_return there;
  auto received = co_await receive(pack);
  if (!received) co_return received;
  pack.reset();
  co_await check_commits();
  choose_branch();
  const auto* chosen = deployed();
  const bool was_chosen = chosen != nullptr && chosen->reason.empty();
  if (request_.atomic && std::ranges::any_of(refs_, [](const Ref& ref) { return !ref.reason.empty(); }))
    refuse_all("atomic push failed");
  if (was_chosen && deployed()->reason.empty()) co_await deploy(*deployed());
  for (auto& ref : refs_)
    if ((ref.previewed || (ref.only_built && &ref != deployed())) && ref.reason.empty()) co_await deploy(ref);
  if (request_.atomic && std::ranges::any_of(refs_, [](const Ref& ref) { return !ref.reason.empty(); }))
    refuse_all("atomic push failed");
  co_return co_await move_refs();
}

/// Takes the pack, and refuses what has moved since the pusher looked.
awaitable<Result<void>> GitPush::receive(const Fd& pack) {
  auto slot = co_await host_.receiving_.acquire();
  if (!slot) co_return fail(std::move(slot.error()));
  auto listed = co_await repository_.refs();
  if (!listed) co_return fail(std::move(listed.error()));
  std::vector<build::RefCommand> left_over;  // by a push that the end of the daemon cut off
  for (const auto& known : *listed)
    if (known.name.starts_with(incoming_refs))
      left_over.push_back({.old_id = known.id, .new_id = no_object, .ref = known.name});
  if (!left_over.empty()) {
    auto gone = co_await repository_.update(std::move(left_over));
    if (!gone) co_return gone;
  }
  for (auto& ref : refs_) {
    const auto known = std::ranges::find(*listed, ref.command.ref, &build::AdvertisedRef::name);
    const auto now = known == listed->end() ? no_object : known->id;
    if (ref.reason.empty() && now != ref.command.old_id) ref.reason = "it has moved meanwhile: fetch first";
  }
  if (std::ranges::all_of(refs_, [](const Ref& ref) { return ref.command.deletes(); })) co_return Result<void>();
  auto taken = co_await repository_.receive(pack.get());
  if (!taken) co_return fail(std::move(taken.error()));
  if (!taken->unpack_reason.empty()) co_return fail(Errc::invalid, "git refused the pack: " + taken->unpack_reason);
  for (const auto& one : taken->refs)
    for (auto& ref : refs_)
      if (ref.incoming == one.ref && ref.reason.empty()) ref.reason = one.reason;
  co_return Result<void>();
}

awaitable<void> GitPush::check_commits() {
  for (auto& ref : refs_) {
    if (!ref.reason.empty() || ref.command.deletes() || !ref.command.ref.starts_with(heads)) continue;
    auto commit = co_await repository_.commit_of(ref.command.new_id);
    if (!commit || *commit != ref.command.new_id) ref.reason = "a branch names a commit";
  }
}

void GitPush::choose_branch() {
  const auto service = doors_.objects.find({model::service_kind().resource(), name_space_, name_});
  const auto chosen =
      service ? model::text_at(*service, {"metadata", "annotations", git_branch_annotation}) : std::string();
  const auto previewed =
      service ? model::text_at(*service, {"metadata", "annotations", model::names::previews}) : std::string();
  std::vector<build::RefCommand> commands;
  for (const auto& ref : refs_) commands.push_back(ref.command);
  branch_ = deployed_branch(commands, chosen);
  const bool deploys = deployed() != nullptr && deployed()->reason.empty();
  for (auto& ref : refs_) {
    if (!ref.reason.empty() || !ref.command.ref.starts_with(heads)) continue;
    const auto name = short_name(ref.command.ref);
    const bool is_deployed_one = chosen.empty() ? name == "main" || name == "master" : name == chosen;
    ref.only_built = options_.no_deploy && !ref.command.deletes();
    if (ref.command.deletes() && is_deployed_one)
      ref.reason = fmt::format("it is what {} deploys; wick rm {} removes the service", name_, name_);
    else if (!service && !deploys)
      ref.reason =
          fmt::format("{} is not deployed yet: git push wick {}:{}", name_, name, chosen.empty() ? "main" : chosen);
    else if (is_deployed_one && options_.preview)
      ref.reason = fmt::format("it is what {} deploys; as a preview: git push wick {}:NAME -o preview", name_, name);
    else if (service && !is_deployed_one && !ref.command.deletes() && !ref.only_built)
      ref.previewed = options_.preview || model::is_previewed(previewed, name);
  }
}

awaitable<Result<std::string>> GitPush::upload_source(const std::string& commit) {
  // A name of its own for each commit of each repository, of the form that uploads have.
  const auto upload = Digest::of(fmt::format("{}/{}@{}", name_space_, name_, commit)).hex();
  const auto path = doors_.uploads / upload;
  auto open = [path, folder = doors_.uploads]() -> Result<Fd> {
    if (auto prepared = prepare_uploads(folder); !prepared) return fail(std::move(prepared.error()));
    return open_file(path.string() + ".new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  };
  auto file = co_await doors_.workers.run(std::move(open));
  if (!file) co_return fail(std::move(file.error()));
  auto written = co_await repository_.archive(commit, file->get());
  if (!written) co_return fail(std::move(written.error()));
  const auto about = json::serialize(json::object{{"commit", commit}, {"dirty", false}});
  auto publish = [path, about]() -> Result<void> {
    std::error_code error;
    std::filesystem::rename(path.string() + ".new", path, error);
    if (error) return fail(Errc::io, "the source was not kept: " + error.message());
    return write_file(path.string() + ".json", about, 0600);
  };
  auto published = co_await doors_.workers.run(std::move(publish));
  if (!published) co_return fail(std::move(published.error()));
  co_return upload;
}

awaitable<void> GitPush::deploy(Ref& ref) {
  const auto& commit = ref.command.new_id;
  const auto branch = short_name(ref.command.ref);
  co_await say(step_line("push", fmt::format("{} at {}", branch, commit.substr(0, 12))));
  const auto refuse = [&ref](const std::string& because) { ref.reason = "deploy failed: " + printable(because, 160); };
  auto upload = co_await upload_source(commit);
  if (!upload) {
    refuse(upload.error().what());
    co_return co_await say("error: " + upload.error().what());
  }
  DeployOrder order{.name_space = name_space_,
                    .name = name_,
                    .build = {{"source", {{"type", "Local"}, {"local", {{"name", *upload}}}}}},
                    .commit = commit,
                    .user = "git-push"};
  if (!options_.builder.empty()) order.build["strategy"] = {{"name", options_.builder}};
  order.env = options_.env;
  order.build_only = ref.only_built;
  if (ref.previewed) order.preview = model::PreviewOrder{.service = name_, .branch = branch, .env = options_.env};
  auto ordered = co_await order_deploy(doors_, std::move(order));
  if (!ordered) {
    refuse(ordered.error().what());
    co_await say("error: " + ordered.error().what());
    if (!ordered.error().hint().empty()) co_await say("  hint: " + ordered.error().hint());
    co_return;
  }
  auto tell = [this](std::string line) { return say(std::move(line)); };
  auto done = co_await follow_deploy(doors_, *ordered, tell);
  if (!done) {
    refuse(done.error().because);
    for (auto& line : done.error().lines) co_await say(std::move(line));
    co_return;
  }
  if (ref.only_built)
    co_await say(fmt::format("{} was built, is not deployed, and has not moved (no-deploy)", branch));
  else
    co_await say(done->url);
}

/// What was accepted moves; the names it had until then go.
awaitable<Result<void>> GitPush::move_refs() {
  std::vector<build::RefCommand> moves;
  for (const auto& ref : refs_)
    if (!ref.command.deletes())
      moves.push_back({.old_id = ref.command.new_id, .new_id = no_object, .ref = ref.incoming});
  std::vector<build::RefCommand> accepted = moves;
  for (const auto& ref : refs_)
    if (ref.reason.empty() && !ref.only_built) accepted.push_back(ref.command);
  auto moved = accepted.empty() ? Result<void>() : co_await repository_.update(std::move(accepted));
  if (!moved) {
    log::warn("the refs of a push did not move", {{"service", name_}, {"error", moved.error().what()}});
    refuse_all("it could not be moved: " + moved.error().what());
    if (!moves.empty()) (void)co_await repository_.update(std::move(moves));
    co_return Result<void>();
  }
  const auto* chosen = deployed();
  if (chosen && chosen->reason.empty() && !chosen->only_built) {
    auto pointed = co_await repository_.set_head(chosen->command.ref);
    if (!pointed) log::warn("HEAD stays", {{"service", name_}, {"error", pointed.error().what()}});
  }
  for (const auto& ref : refs_) {
    const auto& command = ref.command;
    if (!ref.reason.empty() || command.deletes() || &ref == chosen || ref.previewed || ref.only_built ||
        !command.ref.starts_with(heads))
      continue;
    const auto service = doors_.objects.find({model::service_kind().resource(), name_space_, name_});
    const auto wanted =
        service ? model::text_at(*service, {"metadata", "annotations", git_branch_annotation}) : std::string();
    const auto name = short_name(command.ref);
    const auto deploys = wanted.empty() ? std::string("main") : wanted;
    co_await say(fmt::format("{} is kept, not deployed: {} deploys {} (git push wick {}:{})", name, name_, deploys,
                             name, deploys));
  }
  co_await end_previews();
  auto tidied = co_await repository_.tidy();
  if (!tidied) log::warn("a repository was not tidied", {{"service", name_}, {"error", tidied.error().what()}});
  co_return Result<void>();
}

/// With a branch goes its preview.
awaitable<void> GitPush::end_previews() {
  for (const auto& ref : refs_) {
    if (!ref.reason.empty() || !ref.command.deletes() || !ref.command.ref.starts_with(heads)) continue;
    const auto branch = short_name(ref.command.ref);
    const auto tag = co_await control::remove_preview(doors_.objects, name_space_, name_, branch);
    if (!tag.empty()) co_await say(fmt::format("the preview {} of {} is removed", tag, branch));
  }
}

}  // namespace wick::api
