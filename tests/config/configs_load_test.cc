#include <gtest/gtest.h>

#include <filesystem>

#include "drop/base/error.h"
#include "drop/config/config.h"

namespace drop {
namespace {

TEST(ShippedConfigs, AllLoad) {
  int found = 0;
  const std::filesystem::path folder = std::filesystem::path(DROP_SOURCE_DIR) / "configs";
  ASSERT_TRUE(std::filesystem::is_directory(folder)) << folder;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.path().extension() == ".yml") ADD_FAILURE() << entry.path() << ": use .yaml";
    if (entry.path().extension() != ".yaml") continue;
    if (entry.path().parent_path().filename() == "sweeps") continue;  // no configs
    ++found;
    try {
      const Config config = load_config(entry.path().string());
      EXPECT_EQ(parse_config(to_yaml(config), "resolved"), config) << entry.path();
    } catch (const Error& error) {
      ADD_FAILURE() << error.what();
    }
  }
  // the paper's 51 and two small ones
  EXPECT_EQ(found, 53);
}

}  // namespace
}  // namespace drop
