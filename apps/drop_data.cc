// drop_data: fetch D4RL files, look at them, check them against hashes and physics, make data.

#include <vector>

#include "drop_data/commands.h"

int main(int argc, char** argv) {
  CLI::App app(
      "Fetch D4RL data sets, look at them, check them against hashes and physics, make data.",
      "drop_data");
  drop::CommonOptions common;
  drop::add_common_options(app, common);
  app.require_subcommand(1);
  app.fallthrough();
  app.footer("Example: drop_data inspect hopper-medium-v2");
  const std::vector<drop::Command> commands = {
      drop::add_inspect(app), drop::add_decompose(app),        drop::add_download(app, common),
      drop::add_verify(app),  drop::add_generate(app, common), drop::add_replay(app, common),
  };
  return drop::run_program(app, argc, argv, common, [&] {
    for (const drop::Command& command : commands) {
      if (command.app->parsed()) command.run();
    }
  });
}
