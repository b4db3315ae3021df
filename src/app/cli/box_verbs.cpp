// Verbs about the box: images, secrets, domains, repositories, and who may call.
#include "app/cli/command_line.hpp"

namespace wick::app::cli {

void CommandLine::add_images() {
  auto& image = *app_.add_subcommand("image", "Images on the daemon's machine");
  image.require_subcommand(1);
  verb(image, "ls", "List images", list_images);
  auto shown = std::make_shared<std::string>();
  verb(image, "inspect", "Manifest and configuration of an image",
       [shown](Session& session) { return inspect_image(session, *shown); })
      .add_option("name", *shown, "image, or its digest")
      ->required();
  auto gone = std::make_shared<std::vector<std::string>>();
  verb(image, "rm", "Remove images by name; services that run them go on",
       [gone](Session& session) { return remove_images(session, *gone); })
      .add_option("names", *gone, "images")
      ->required();
  auto pulled = std::make_shared<std::vector<std::string>>();
  verb(image, "pull", "Fetch images from their registries, with your docker login",
       [pulled](Session& session) { return pull_images(session, *pulled); })
      .add_option("names", *pulled, "images: REGISTRY/NAME:TAG")
      ->required();
  auto push = std::make_shared<PushOptions>();
  auto& pushing = verb(image, "push", "Send an image to a registry, with your docker login",
                       [push](Session& session) { return push_image(session, *push); });
  pushing.add_option("name", push->name, "image that is here")->required();
  pushing.add_option("to", push->to, "REGISTRY/NAME:TAG (default: its own name)");
  auto load = std::make_shared<LoadOptions>();
  auto& loading = verb(image, "load", "Take images from an OCI or docker archive",
                       [load](Session& session) { return load_images(session, *load); });
  loading.add_option("file", load->file, "archive (default: stdin)");
  loading.add_option("-i,--input", load->file, "the same")->type_name("FILE");
  loading.add_option("--name", load->name, "only this image; a single one gets this name")->type_name("NAME");
  auto prune = std::make_shared<PruneOptions>();
  verb(image, "prune", "Remove what no image name and no revision needs", [prune](Session& session) {
    return prune_images(session, *prune);
  }).add_flag("-y,--yes", prune->yes, "do not ask");
  verb(image, "gc", "Free what is over the daemon's limits, build cache that was not used for longest first",
       collect_images);
  auto verified = std::make_shared<std::vector<std::string>>();
  verb(image, "verify", "Read every byte of images and compare the digests", [verified](Session& session) {
    return verify_images(session, *verified);
  }).add_option("names", *verified, "images (default: all)");
  auto save = std::make_shared<SaveOptions>();
  auto& saving = verb(image, "save", "Write images to an archive that docker load and skopeo take",
                      [save](Session& session) { return save_images(session, *save); });
  saving.add_option("names", save->names, "images")->required();
  saving.add_flag("--zstd", save->compress,
                  "compressed, on all cores: docker load (23 or newer), podman and skopeo take it");
  saving.add_option("-o,--output", save->file, "file (default: stdout)")->type_name("FILE");
}

void CommandLine::add_secrets() {
  auto& secret = *app_.add_subcommand("secret", "Keys and passwords that services and builds use");
  secret.require_subcommand(1);
  auto set = std::make_shared<SecretOptions>();
  auto& setting = verb(secret, "set", "Make a secret, or replace it",
                       [set](Session& session) { return set_secret(session, *set); });
  setting.add_option("name", set->name, "secret")->required();
  setting.add_option("values", set->values, "KEY=VALUE; @FILE and @- read the value")->required();
  setting.add_option("--type", set->type, "Kubernetes' type (default: told by the keys)")->type_name("TYPE");
  verb(secret, "ls", "List secrets", list_secrets);
  auto key = std::make_shared<KeyFileOptions>();
  auto& rotate = verb(secret, "rotate-key", "Put a new key before those that secrets are encrypted with (root)",
                      [key](Session& session) { return rotate_secret_key(session, *key); });
  rotate.add_option("--key-file", key->file, "where the daemon has it (default: /etc/wick/secret.key)")
      ->type_name("FILE");
  rotate.add_flag("--drop-old", key->drop_old, "leave only the first, once the daemon uses it alone");
  auto removed = std::make_shared<std::string>();
  verb(secret, "rm", "Remove a secret", [removed](Session& session) { return remove_secret(session, *removed); })
      .add_option("name", *removed, "secret")
      ->required();
}

void CommandLine::add_domains() {
  auto& domain = *app_.add_subcommand("domain", "Domains of your own for services");
  domain.require_subcommand(1);
  auto options = std::make_shared<DomainOptions>();
  auto& add = verb(domain, "add", "Serve a service at a domain, once its DNS points here",
                   [options](Session& session) { return add_domain(session, *options); });
  add.add_option("name", options->name, "domain, e.g. shop.example.com")->required();
  add.add_option("service", options->service, "service")->required();
  add.add_option("--cert", options->certificate, "its certificate and what is above it (PEM), in place of one by ACME")
      ->type_name("FILE");
  add.add_option("--key", options->key, "the certificate's key (PEM)")->type_name("FILE");
  add.add_flag("!--no-dns-check", options->check_dns, "map it wherever the name leads");
  add.add_flag("!--no-wait", options->wait, "do not wait for the certificate");
  verb(domain, "ls", "List domains", list_domains);
  auto gone = std::make_shared<std::string>();
  verb(domain, "rm", "Remove it", [gone](Session& session) { return remove_domain(session, *gone); })
      .add_option("name", *gone, "domain")
      ->required();
}

void CommandLine::add_git() {
  auto& git = *app_.add_subcommand("git", "Deploy by git push");
  git.require_subcommand(1);
  auto remote = std::make_shared<GitRemoteOptions>();
  auto& showing = verb(git, "remote", "Print the URL that git push deploys to, or set it up here",
                       [remote](Session& session) { return git_remote_of(session, *remote); });
  showing.add_option("service", remote->name, "name of the service (default: as this folder is called)");
  showing.add_flag("--add", remote->add, "make it a remote of this repository, with a token that may deploy");
  showing.add_option("--remote", remote->remote, "name of the remote (default: wick)")->type_name("NAME");
  auto name = std::make_shared<std::string>();
  auto branch = std::make_shared<std::string>();
  auto& choosing = verb(git, "branch", "Show or set the branch whose pushes are deployed",
                        [name, branch](Session& session) { return git_branch_of(session, *name, *branch); });
  choosing.add_option("service", *name, "name of the service")->required();
  choosing.add_option("branch", *branch, "the branch (default: show it)");
  auto followed = std::make_shared<std::string>();
  auto interval = std::make_shared<std::string>();
  auto& following =
      verb(git, "follow", "Show or set how often the branch that a service was deployed from is looked at",
           [followed, interval](Session& session) { return git_follow_of(session, *followed, *interval); });
  following.add_option("service", *followed, "name of the service")->required();
  following.add_option("interval", *interval, "such as 1m, at least 5s; off ends it (default: show it)");
}

void CommandLine::add_previews() {
  auto& preview = *app_.add_subcommand("preview", "Branches of a service with URLs of their own");
  preview.require_subcommand(1);
  auto service = std::make_shared<std::string>();
  verb(preview, "ls", "List previews", [service](Session& session) {
    return list_previews(session, *service);
  }).add_option("service", *service, "of this service (default: of all)");
  auto removed = std::make_shared<std::pair<std::string, std::string>>();
  auto& removing = verb(preview, "rm", "Remove a preview and its revisions", [removed](Session& session) {
    return remove_preview_of(session, removed->first, removed->second);
  });
  removing.add_option("service", removed->first, "name of the service")->required();
  removing.add_option("preview", removed->second, "the branch, or the tag")->required();
  auto shown = std::make_shared<std::pair<std::string, std::string>>();
  auto& choosing =
      verb(preview, "branches", "Show or set which branches become previews when they are pushed",
           [shown](Session& session) { return preview_branches_of(session, shown->first, shown->second); });
  choosing.add_option("service", shown->first, "name of the service")->required();
  choosing.add_option("patterns", shown->second, "such as 'feature/*,fix-*'; off for none (default: show them)");
}

void CommandLine::add_webhooks() {
  auto& webhook = *app_.add_subcommand("webhook", "Deploy what is pushed to GitHub, GitLab, Gitea and others");
  webhook.require_subcommand(1);
  auto options = std::make_shared<WebhookOptions>();
  auto& adding = verb(webhook, "add", "Make a webhook and print its URL and secret, this once",
                      [options](Session& session) { return add_webhook(session, *options); });
  adding.add_option("service", options->service, "name of a service that was deployed from a git URL")->required();
  adding.add_option("--provider", options->provider, "github, gitlab, gitea or generic (default: github)")
      ->check(CLI::IsMember({"github", "gitlab", "gitea", "generic"}));
  adding.add_option("--branch", options->branch, "the branch that counts (default: the one it was deployed from)")
      ->type_name("NAME");
  verb(webhook, "ls", "List webhooks", list_webhooks);
  auto name = std::make_shared<std::string>();
  verb(webhook, "rm", "Remove a webhook, or all of a service",
       [name](Session& session) { return remove_webhooks(session, *name); })
      .add_option("name", *name, "name of a webhook or a service")
      ->required();
}

void CommandLine::add_token_flags(CLI::App& sub, TokenOptions& options) {
  sub.add_option("--scope", options.scope, "read, deploy or admin (default: admin)")
      ->check(CLI::IsMember({"read", "deploy", "admin"}));
  sub.add_option("--only", options.limited_to, "nothing outside this namespace")->type_name("NAMESPACE");
  sub.add_option_function<std::string>(
         "--ttl", [&options](const std::string& text) { options.ttl = *parse_go_duration(text); },
         "how long the token is good for (default: until it is revoked)")
      ->check(duration_check());
}

void CommandLine::add_access() {
  auto& token = *app_.add_subcommand("token", "Who may call the API over TCP");
  token.require_subcommand(1);
  auto create = std::make_shared<TokenOptions>();
  auto& creating = verb(token, "create", "Make a token and print it, this once",
                        [create](Session& session) { return create_token(session, *create); });
  creating.add_option("name", create->name, "what it is for")->required();
  add_token_flags(creating, *create);
  verb(token, "ls", "List tokens", list_tokens);
  auto revoked = std::make_shared<std::string>();
  verb(token, "rm", "Make a token worthless", [revoked](Session& session) { return revoke_token(session, *revoked); })
      .add_option("id", *revoked, "id of the token")
      ->required();
  auto config = std::make_shared<TokenOptions>();
  config->name = "kubeconfig";
  auto& printing = verb(app_, "kubeconfig", "Print a kubeconfig for kubectl and kn, with a new token",
                        [config](Session& session) { return print_kubeconfig(session, *config); });
  add_token_flags(printing, *config);
  auto rows = std::make_shared<int>(20);
  verb(app_, "audit", "Who changed what", [rows](Session& session) { return show_audit(session, *rows); })
      .add_option("--tail", *rows, "how many rows (default 20)")
      ->check(CLI::PositiveNumber)
      ->type_name("N");
}

}  // namespace wick::app::cli
