// Processes that work together: a store of keys that all of them see, and collectives of libtorch's c10d.
#include "shim.h"

#include <ATen/ops/empty.h>
#include <c10/util/Logging.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <string>

namespace {

using Store = c10::intrusive_ptr<c10d::Store>;
using Group = c10::intrusive_ptr<c10d::Backend>;
using std::chrono::milliseconds;

Store& store_of(void* store) { return *static_cast<Store*>(store); }
c10d::Backend& group_of(void* group) { return **static_cast<Group*>(group); }

// While one lives, c10d writes nothing to the terminal: what it would write is in the error that it throws. The field's
// variable brings its words back.
class Quiet {
 public:
  Quiet() {
    std::lock_guard lock(mutex);
    if (std::getenv("TORCH_CPP_LOG_LEVEL") || living++ > 0) return;
    was = FLAGS_caffe2_log_level;
    FLAGS_caffe2_log_level = c10::GLOG_FATAL;
  }
  ~Quiet() {
    std::lock_guard lock(mutex);
    if (living > 0 && --living == 0) FLAGS_caffe2_log_level = was;
  }
  Quiet(const Quiet&) = delete;
  Quiet& operator=(const Quiet&) = delete;

 private:
  static inline std::mutex mutex;
  static inline int living = 0, was = 0;
};

template <class Body>
char* quietly(Body&& body) noexcept {
  return guarded([&] {
    Quiet quiet;
    body();
  });
}

// Adds up a tensor over all processes in place: null, or the error as a text to be freed.
using Reduce = char* (*)(const void* group, Handle tensor);

// The sum over all processes of a tensor, and of its gradients.
struct Sum : torch::autograd::Function<Sum> {
  using Context = torch::autograd::AutogradContext;
  using List = torch::autograd::variable_list;

  static at::Tensor forward(Context* context, const at::Tensor& own, int64_t reduce, int64_t group) {
    context->saved_data["reduce"] = reduce;
    context->saved_data["group"] = group;
    return summed(own, reduce, group);
  }

  static List backward(Context* context, List gradients) {
    const auto number = [&](const char* name) { return context->saved_data[name].toInt(); };
    return {summed(gradients[0], number("reduce"), number("group")), {}, {}};
  }

  static at::Tensor summed(const at::Tensor& own, int64_t reduce, int64_t group) {
    at::Tensor all = own.detach().clone(at::MemoryFormat::Contiguous);
    char* fault = reinterpret_cast<Reduce>(reduce)(reinterpret_cast<const void*>(group), &all);
    if (!fault) return all;
    const std::string text(fault);
    std::free(fault);
    throw std::runtime_error(text);
  }
};

// Collectives of several groups in one process start one after the other: c10d's flight recorder is one for all groups
// and writes its map of groups without a lock. NCCL, which waits for the others when it starts, has one group a process.
std::mutex starting;

// Starts a collective and waits for it. Throws what made it fail.
template <class Start>
void finish(Start&& start) {
  c10::intrusive_ptr<c10d::Work> work;
  {
    std::lock_guard lock(starting);
    work = start();
  }
  work->wait();
}

}  // namespace

extern "C" {

// Without `numWorkers` nobody waits here for the others: who is missing is found out by keys.
char* admix_store_open(
    const char* host, uint16_t port, bool serve, int64_t timeout_ms, const char* prefix, void** store) {
  return quietly([&] {
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = serve;
    options.waitWorkers = false;
    options.timeout = milliseconds(timeout_ms);
    Store tcp = c10::make_intrusive<c10d::TCPStore>(host, options);
    *store = new Store(c10::make_intrusive<c10d::PrefixStore>(prefix, std::move(tcp)));
  });
}

void admix_store_close(void* store) {
  Quiet quiet;
  delete static_cast<Store*>(store);
}

char* admix_store_set(void* store, const char* key, const char* text) {
  return quietly([&] { store_of(store)->set(key, std::string(text)); });
}

char* admix_store_add(void* store, const char* key, int64_t by, int64_t* sum) {
  return quietly([&] { *sum = store_of(store)->add(key, by); });
}

// `text` stays null where nobody has set the key. Does not wait.
char* admix_store_get(void* store, const char* key, char** text) {
  return quietly([&] {
    if (store_of(store)->check({key})) *text = strdup(store_of(store)->get_to_str(key).c_str());
  });
}

// `loopback`: all processes are on this machine, whatever its name resolves to. The field's variable names another network.
char* admix_gloo_join(void* store, int rank, int processes, int64_t timeout_ms, bool loopback, void** group) {
  return quietly([&] {
    using Gloo = c10d::ProcessGroupGloo;
    const milliseconds timeout(timeout_ms);
    const bool named = std::getenv("GLOO_SOCKET_IFNAME") != nullptr;
    auto options = loopback && !named ? Gloo::Options::create(timeout) : Gloo::Options::create_default(timeout);
    if (options->devices.empty()) options->devices.push_back(Gloo::createDeviceForHostname("127.0.0.1"));
    *group = new Group(c10::make_intrusive<Gloo>(store_of(store), rank, processes, std::move(options)));
  });
}

char* admix_group_abort(void* group) {
  return quietly([&] { group_of(group).abort(); });
}

void admix_group_close(void* group) {
  Quiet quiet;
  // Backends that have a thread of their own end it here, and not in their destructors.
  free(guarded([&] { group_of(group).shutdown(); }));
  delete static_cast<Group*>(group);
}

char* admix_group_all_reduce(void* group, Handle tensor, bool largest) {
  return quietly([&] {
    std::vector<at::Tensor> list{*tensor};
    c10d::AllreduceOptions options;
    options.reduceOp = largest ? c10d::ReduceOp::MAX : c10d::ReduceOp::SUM;
    finish([&] { return group_of(group).allreduce(list, options); });
  });
}

char* admix_group_sum(const void* group, Reduce reduce, Handle tensor, Handle* sum) {
  return guarded([&] {
    *sum = owned(Sum::apply(*tensor, reinterpret_cast<int64_t>(reduce), reinterpret_cast<int64_t>(group)));
  });
}

char* admix_copy(const char* text) { return strdup(text); }

char* admix_group_broadcast(void* group, Handle tensor, int root) {
  return quietly([&] {
    std::vector<at::Tensor> list{*tensor};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    finish([&] { return group_of(group).broadcast(list, options); });
  });
}

// The tensors of all processes, one after the other along the first dimension.
char* admix_group_all_gather(void* group, Handle tensor, Handle* result) {
  return quietly([&] {
    auto size = tensor->sizes().vec();
    size.at(0) *= group_of(group).getSize();
    at::Tensor input = tensor->contiguous(), all = at::empty(size, input.options());
    finish([&] { return group_of(group)._allgather_base(all, input); });
    *result = owned(std::move(all));
  });
}

char* admix_group_barrier(void* group) {
  return quietly([&] { finish([&] { return group_of(group).barrier(); }); });
}

}  // extern "C"
