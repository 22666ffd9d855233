package he

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The metrics follow the text format: each name is described once, before its samples;
// buckets add up to the count.
func TestMetricsFormat(t *testing.T) {
	p := servedOnce()
	m := newMessages(t, p)
	h := newHandler(t, p, HandlerOptions{})
	session := openSession(t, h, "", m)
	for range 3 {
		require.Equal(t, http.StatusOK, ask(h, "POST", "/query", "", session, m.query).Code)
	}
	ask(h, "POST", "/query", "", session, m.query[:99])
	ask(h, "GET", "/%22%0a", "", session, nil)
	w := httptest.NewRecorder()
	h.Metrics().ServeHTTP(w, httptest.NewRequest("POST", "/", nil))
	require.Equal(t, http.StatusMethodNotAllowed, w.Code)
	w = httptest.NewRecorder()
	h.Metrics().ServeHTTP(w, httptest.NewRequest("GET", "/any", nil))
	require.Equal(t, "text/plain; version=0.0.4; charset=utf-8", w.Header().Get("Content-Type"))
	text := w.Body.String()
	require.True(t, strings.HasSuffix(text, "\n"))
	sample := regexp.MustCompile(`^([a-z_]+)(\{[a-z]+="[^"\\\n]*"(,[a-z]+="[^"\\\n]*")*\})? (\S+)$`)
	kinds, last := map[string]string{}, 0.
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(rest, " ")
			require.NotContains(t, kinds, name)
			require.Contains(t, text, "# HELP "+name+" ")
			kinds[name] = kind
			last = 0
			continue
		}
		if strings.HasPrefix(line, "# HELP ") {
			continue
		}
		parts := sample.FindStringSubmatch(line)
		require.NotNil(t, parts, line)
		v, err := strconv.ParseFloat(parts[4], 64)
		require.NoError(t, err)
		base := parts[1]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if name := strings.TrimSuffix(base, suffix); kinds[name] == "histogram" {
				base = name
			}
		}
		require.Contains(t, kinds, base, "described before")
		if strings.HasSuffix(parts[1], "_bucket") {
			require.GreaterOrEqual(t, v, last, "buckets add up")
			last = v
		}
		if kinds[base] == "counter" {
			require.True(t, strings.HasSuffix(base, "_total"), base)
		}
	}
	for _, line := range []string{
		`sotto_he_evaluate_seconds_bucket{le="+Inf"} 3`, "sotto_he_evaluate_seconds_count 3", "sotto_he_queue_seconds_count 3",
		`sotto_he_refusals_total{reason="malformed"} 1`, `sotto_he_requests_total{path="other",status="404"} 1`,
	} {
		require.Contains(t, text, line+"\n")
	}
}

func TestHistogram(t *testing.T) {
	var h histogram
	for _, d := range []time.Duration{0, time.Millisecond, time.Millisecond + 1, 3 * time.Millisecond, 16384 * time.Millisecond, time.Hour} {
		h.add(d)
	}
	require.Equal(t, [15]int64{2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}, h.counts)
}
