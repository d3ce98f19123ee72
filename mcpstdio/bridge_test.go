package mcpstdio_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/graf-run/graf/mcpstdio"
)

// silent is a peer that takes requests and never answers.
type silent struct{}

// RoundTrip implements http.RoundTripper.
func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// said keeps what is written to it.
type said struct{ bytes.Buffer }

// Close implements io.Closer.
func (*said) Close() error { return nil }

// A peer that never answers does not keep the bridge from its end, and each call is
// told that there is no answer.
func TestSilentPeer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := mcpstdio.Bridge{URL: "http://graf.example/mcp", Token: "token", Client: &http.Client{Transport: silent{}}}
		in := `{"jsonrpc":"2.0","id":1,"method":"initialize"}` + "\n" + `{"jsonrpc":"2.0","id":2,"method":"tools/list"}` + "\n"
		var out said
		if err := b.Run(t.Context(), &mcp.IOTransport{Reader: io.NopCloser(strings.NewReader(in)), Writer: &out}); err != nil {
			t.Error(err)
		}
		if got := out.String(); strings.Count(got, "Graf does not answer: ") != 2 {
			t.Errorf("answered %s", got)
		}
	})
}
