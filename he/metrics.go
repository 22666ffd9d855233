package he

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// metrics count what a handler has done. The handler's mutex guards them.
type metrics struct {
	requests               map[requestKind]int64
	refusals               map[string]int64
	received, sent         int64
	opened, ended, expired int64
	evaluate, queue        histogram
}

type requestKind struct {
	path   string
	status int
}

func (k requestKind) compare(other requestKind) int {
	return cmp.Or(cmp.Compare(k.path, other.path), cmp.Compare(k.status, other.status))
}

// histogram counts durations by buckets of powers of two, from 1 ms.
type histogram struct {
	counts [15]int64 // of each bucket; the last has no upper end
	sum    time.Duration
}

func (h *histogram) add(d time.Duration) {
	i := 0
	for i < len(h.counts)-1 && d > time.Millisecond<<i {
		i++
	}
	h.counts[i]++
	h.sum += d
}

func (h *histogram) write(b *strings.Builder, name, help string) {
	fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s histogram\n", name, help, name)
	total := int64(0)
	for i, n := range h.counts {
		total += n
		le := "+Inf"
		if i < len(h.counts)-1 {
			le = fmt.Sprint((time.Millisecond << i).Seconds())
		}
		fmt.Fprintf(b, "%s_bucket{le=\"%s\"} %d\n", name, le, total)
	}
	fmt.Fprintf(b, "%s_sum %g\n%s_count %d\n", name, h.sum.Seconds(), name, total)
}

func (m *metrics) count(x *exchange, kind string) {
	if m.requests == nil {
		m.requests, m.refusals = map[requestKind]int64{}, map[string]int64{}
	}
	m.requests[requestKind{x.path, x.status}]++
	if kind != "" {
		m.refusals[kind]++
	}
	m.received += x.in
	m.sent += x.out
	if x.compute > 0 {
		m.evaluate.add(x.compute)
		m.queue.add(x.queue)
	}
}

// Metrics serves the handler's counters in the text format of Prometheus, version 0.0.4.
// They tell how much others ask and when, so it is not among the paths that clients
// reach: serve it on a port of its own, as it asks nobody who they are.
func (h *Handler) Metrics() http.Handler { return http.HandlerFunc(h.serveMetrics) }

func (h *Handler) serveMetrics(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "metrics take GET", http.StatusMethodNotAllowed)
		return
	}
	var b strings.Builder
	single := func(kind, name, help string, v int64) {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n%s %d\n", name, help, name, kind, name, v)
	}
	h.mutex.Lock()
	m := &h.completed
	b.WriteString("# HELP sotto_he_requests_total Requests by path and status; status 0: the client went.\n# TYPE sotto_he_requests_total counter\n")
	for _, k := range slices.SortedFunc(maps.Keys(m.requests), requestKind.compare) {
		fmt.Fprintf(&b, "sotto_he_requests_total{path=%q,status=\"%d\"} %d\n", k.path, k.status, m.requests[k])
	}
	b.WriteString("# HELP sotto_he_refusals_total Requests that were not served, by reason.\n# TYPE sotto_he_refusals_total counter\n")
	for _, k := range slices.Sorted(maps.Keys(m.refusals)) {
		fmt.Fprintf(&b, "sotto_he_refusals_total{reason=%q} %d\n", k, m.refusals[k])
	}
	single("counter", "sotto_he_received_bytes_total", "Bytes of keys and queries.", m.received)
	single("counter", "sotto_he_sent_bytes_total", "Bytes of bodies sent.", m.sent)
	single("counter", "sotto_he_sessions_opened_total", "Sessions opened.", m.opened)
	single("counter", "sotto_he_sessions_ended_total", "Sessions ended, by their clients, by time or by the shutdown.", m.ended)
	single("counter", "sotto_he_sessions_expired_total", "Sessions ended by time.", m.expired)
	single("gauge", "sotto_he_sessions", "Open sessions.", int64(len(h.sessions)))
	single("gauge", "sotto_he_key_memory_bytes", "Bound on the memory of the sessions' keys.", h.taken)
	single("gauge", "sotto_he_requests_in_work", "Requests of keys and queries that are read, wait and are evaluated.", int64(h.admitted))
	single("gauge", "sotto_he_evaluations_in_work", "Queries that are evaluated.", int64(len(h.turns)))
	m.evaluate.write(&b, "sotto_he_evaluate_seconds", "Time of a query's evaluation.")
	m.queue.write(&b, "sotto_he_queue_seconds", "Time that a query waited for its evaluation.")
	h.mutex.Unlock()
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	io.WriteString(w, b.String())
}
