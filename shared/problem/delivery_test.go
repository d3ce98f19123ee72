package problem

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestWriteDeliveryIsShort answers deliveries with more than the Broker can take.
func TestWriteDeliveryIsShort(t *testing.T) {
	t.Parallel()
	long := strings.Repeat(`a "text" of é and <, `, 100)
	var fields []FieldError
	for range 20 {
		fields = append(fields, FieldError{Pointer: "/a/field/somewhere", Detail: "must be something else than it is"})
	}
	for name, test := range map[string]struct {
		err  error
		says string
	}{
		"many fields":      {ErrInvalid.Fields(fields...), "/a/field/somewhere"},
		"a long detail":    {ErrInvalid.With("%s", long), "a "},
		"a long field":     {ErrInvalid.Fields(FieldError{Pointer: "/a", Detail: long}), "/a"},
		"a long pointer":   {ErrInvalid.Fields(FieldError{Pointer: "/" + long, Detail: "no"}), "no"},
		"several at once":  {ErrInvalid.Fields(append(fields, FieldError{Pointer: long, Detail: long})...), "/a/field"},
		"nothing too long": {ErrInvalid.With("short"), "short"},
	} {
		w := httptest.NewRecorder()
		WriteDelivery(w, httptest.NewRequestWithContext(t.Context(), "POST", "/", nil), test.err)
		var doc Problem
		if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
			t.Errorf("%s: %v in %s", name, err, w.Body)
			continue
		}
		if w.Body.Len() > maxDelivery {
			t.Errorf("%s: %d bytes", name, w.Body.Len())
		}
		if doc.Type == "" || doc.Status != w.Code || !strings.Contains(w.Body.String(), test.says) {
			t.Errorf("%s: %s", name, w.Body)
		}
	}
	if len(fields) != 20 || fields[0].Detail == "" {
		t.Error("the error itself was changed")
	}
}
