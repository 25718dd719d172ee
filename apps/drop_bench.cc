// drop_bench: how fast, beside the machine's own best in the same run.

#include "drop_bench/commands.h"

int main(int argc, char** argv) {
  CLI::App app("Benchmarks: medians beside the machine's own best, measured in the same run.",
               "drop_bench");
  drop::CommonOptions common;
  drop::add_common_options(app, common);
  app.require_subcommand(1);
  app.fallthrough();
  app.footer("Example: drop_bench step --threads 1");
  const std::vector<drop::Command> commands = {drop::add_step(app), drop::add_ascent(app),
                                               drop::add_env(app), drop::add_data(app)};
  return drop::run_program(app, argc, argv, common, [&] {
    for (const drop::Command& command : commands) {
      if (command.app->parsed()) command.run();
    }
  });
}
