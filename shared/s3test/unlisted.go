package s3test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
)

// Unlisted is an endpoint of the server that answers as AWS answers who may not list the bucket: to look up an object
// that is not there is forbidden (403), not without success (404).
func Unlisted(t testing.TB) string {
	t.Helper()
	target, err := url.Parse(setting(t, EndpointVariable))
	if err != nil {
		t.Fatalf("%s: %v", EndpointVariable, err)
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host }, // which is signed
		ModifyResponse: func(answer *http.Response) error {
			if answer.Request.Method == http.MethodHead && answer.StatusCode == http.StatusNotFound {
				answer.StatusCode, answer.Status = http.StatusForbidden, "403 Forbidden"
			}
			return nil
		},
	})
	t.Cleanup(proxy.Close)
	return proxy.URL
}
