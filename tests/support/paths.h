#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

#include "support/temporary_folder.h"

namespace drop::testing {

/// A fixture that ships with the project.
inline std::string fixture(const std::string& name) {
  return std::string(DROP_FIXTURES) + "/" + name;
}

/// A file of the optional folder of larger data beside the checkout; empty when it is not there.
inline std::string shared_data(const std::string& name) {
  const char* folder = std::getenv("DROP_SHARED_DATA");
  std::string path = std::string(folder ? folder : DROP_SHARED_DATA) + "/" + name;
  return std::filesystem::exists(path) ? path : "";
}

}  // namespace drop::testing
