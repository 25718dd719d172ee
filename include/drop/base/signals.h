#pragma once

namespace drop {

/// Installs handlers for SIGINT and SIGTERM: the first signal only sets a flag, so that the program
/// saves and stops at the next safe point; a second one ends the process at once with status 130.
void install_stop_handlers();

/// True after the first SIGINT or SIGTERM.
bool stop_requested();

/// Forgets an earlier signal (for tests).
void clear_stop_request();

}  // namespace drop
