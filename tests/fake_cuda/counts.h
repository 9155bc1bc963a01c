// What the fake device saw, written as JSON when the program ends: kernels, waits of the host, other events, faults.
//
// FAKE_CUDA_STATS names the file. FAKE_CUDA_STACKS adds where in the program each wait comes from (addresses for addr2line).
#pragma once
#include <dlfcn.h>
#include <execinfo.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <string>

namespace fake {

class Counts {
 public:
  void kernel(const std::string& name) { add(kernels_, name); }
  void event(const std::string& name) { add(events_, name); }

  void sync(const std::string& name) {
    add(syncs_, name);
    static const bool stacks = getenv("FAKE_CUDA_STACKS") != nullptr;
    if (stacks) add(stacks_, name + in_program());
  }

  // What would be undefined behaviour on a GPU: a race, memory used after it is free.
  void fault(const std::string& what) { add(faults_, what); }

  void memory(int64_t change) {
    const auto now = bytes_ += change;
    for (auto peak = peak_.load(); now > peak && !peak_.compare_exchange_weak(peak, now);) {
    }
  }
  int64_t bytes() const { return bytes_; }
  int64_t peak() const { return peak_; }
  void reset_peak() { peak_ = bytes_.load(); }

  void write() {
    const char* path = getenv("FAKE_CUDA_STATS");
    FILE* file = path && *path ? fopen(path, "w") : nullptr;
    if (!file) return;
    std::lock_guard<std::mutex> lock(mutex_);
    fprintf(file, "{\"peak_bytes\": %ld", static_cast<long>(peak_.load()));
    list(file, "kernels", kernels_);
    list(file, "syncs", syncs_);
    list(file, "events", events_);
    list(file, "faults", faults_);
    list(file, "stacks", stacks_);
    fprintf(file, "}\n");
    fclose(file);
  }

 private:
  using Table = std::map<std::string, uint64_t>;

  void add(Table& table, const std::string& name) {
    std::lock_guard<std::mutex> lock(mutex_);
    ++table[name];
  }

  static void list(FILE* file, const char* title, const Table& table) {
    fprintf(file, ",\n\"%s\": {", title);
    const char* comma = "";
    for (auto& [name, count] : table) {
      // Names are those of operations and of this library: no quote and no backslash.
      fprintf(file, "%s\n  \"%s\": %lu", comma, name.c_str(), static_cast<unsigned long>(count));
      comma = ",";
    }
    fprintf(file, "}");
  }

  static std::string in_program() {
    void* frames[60];
    std::string text;
    const int count = backtrace(frames, 60);
    for (int i = 0; i < count; ++i) {
      Dl_info info;
      if (!dladdr(frames[i], &info) || !info.dli_fname || !strstr(info.dli_fname, "admix")) continue;
      char address[32];
      snprintf(address, sizeof address, " %lx",
               static_cast<long>(static_cast<char*>(frames[i]) - static_cast<char*>(info.dli_fbase)));
      text += address;
    }
    return text;
  }

  std::mutex mutex_;
  Table kernels_, syncs_, events_, faults_, stacks_;
  std::atomic<int64_t> bytes_{0}, peak_{0};
};

// Never destroyed: tensors in static variables outlive this library.
inline Counts& counts() {
  static auto* all = new Counts;
  return *all;
}

}  // namespace fake
