// What `wick help TOPIC` knows besides the verbs: every slug an error can carry.
#include <array>

#include "app/cli/verbs.hpp"
#include "wick/base/text.hpp"

namespace wick::app::cli {

namespace {

struct Topic {
  std::string_view name;
  std::string_view text;
};

constexpr std::array topics{
    Topic{"E_EXITED",
          "The process ended before it listened on $PORT. Its exit code and last lines are in the error; all of them: "
          "wick logs NAME --failed."},
    Topic{"E_EXITED_ZERO",
          "The process ended with exit code 0 before it listened: a service has to keep running and listen on $PORT. A "
          "script that ends is a job."},
    Topic{"E_OUT_OF_MEMORY",
          "The kernel ended the process because it used its whole memory limit. Give it more: wick deploy --memory "
          "512Mi."},
    Topic{"E_WRONG_PORT",
          "The process listens, but not on $PORT. Read the PORT environment variable, or say the port: wick deploy "
          "--port 3000."},
    Topic{"E_NOT_READY",
          "No instance answered its readiness probe in time. wick why NAME shows what was seen; wick logs NAME "
          "--failed what it printed."},
    Topic{"E_BUILD_STEP", "A step of the build ended with an error. The log has its output: wick logs NAME --build."},
    Topic{"E_BUILD_FAILED", "The build did not come to an image. The log says why: wick logs NAME --build."},
    Topic{"E_FETCH",
          "The source could not be fetched: address, ref or rights. Check the URL; git ls-remote URL tells whether it "
          "answers."},
    Topic{"E_UNREACHABLE",
          "No daemon answers at the socket ($WICK_SOCKET, $XDG_RUNTIME_DIR/wick.sock, /run/wick/wick.sock). Start it: "
          "systemctl start wick."},
    Topic{"E_NOT_FOUND",
          "There is nothing of that name in the namespace. wick ps lists the services; -n NAMESPACE looks elsewhere."},
    Topic{"E_CONFLICT", "Somebody else changed the same thing at the same time. Look again and repeat."},
    Topic{"E_ALREADY_EXISTS", "The name is taken. Remove the old one or take another name."},
    Topic{"E_DENIED", "You or the daemon may not do that. For the socket: run as root or join the group wick."},
    Topic{
        "E_DNS",
        "The domain's DNS leads elsewhere, or nowhere; the error says what this machine sees. Set its A or AAAA record "
        "to this machine's public address and run wick domain add again. Behind NAT that cannot be seen from here: "
        "--no-dns-check."},
    Topic{"E_TOO_LARGE",
          "Something is over a limit that the error names. For a deploy: leave parts of the folder out with "
          ".dockerignore."},
    Topic{"E_OVERLOADED", "A bounded queue is full. Try again; if it stays so, raise --max or --concurrency."},
    Topic{"E_TIMED_OUT", "It took longer than its limit. It may still go on: wick why NAME."},
    Topic{"E_INVALID", "The request itself is wrong; the error says which field."},
    Topic{"E_UNSUPPORTED",
          "Valid, but not something this version or this machine can do. wick doctor says what the machine lacks."},
    Topic{"E_UNAVAILABLE", "The other side is not there. wick doctor, and wick why NAME for a service."},
    Topic{"E_HTTP_STATUS", "The program answered with an error status of its own. Its logs: wick logs NAME."},
    Topic{"E_INTERRUPTED", "Ctrl-C. What the daemon had taken on goes on; the error says how to follow it."},
    Topic{"E_USAGE", "The command line was not understood. wick help VERB shows its flags."},
    Topic{"E_DOCTOR", "A check of wick doctor failed: services cannot run well before it is mended."},
    Topic{"E_DECLINED", "A question was not answered with yes. --yes does not ask."},
    Topic{"E_INTERNAL", "A bug or a broken machine. The daemon's log has more: journalctl -u wick."},
    Topic{"E_IO", "The operating system refused: disk full, file gone, rights. The error has its words."},
    Topic{"E_CORRUPT",
          "Bytes are not what they claim to be. Repeat it; if it stays, the daemon's store is damaged: wick doctor."},
};

}  // namespace

std::optional<std::string> help_topic(std::string_view topic) {
  for (const auto& known : topics)
    if (iequals(known.name, topic)) return std::string(known.name) + "\n  " + std::string(known.text);
  return std::nullopt;
}

}  // namespace wick::app::cli
