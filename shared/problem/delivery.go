package problem

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// maxDelivery bounds the document that answers a delivery, in bytes. In base64
// these are 1,024, all that Knative keeps as a dead letter's knativeerrordata. The
// dispatcher of its in-memory channel (Eventing 1.20) panics at an answer that is
// longer, and loses every event that it holds.
const maxDelivery = 768

// WriteDelivery is Write for the delivery of a CloudEvent, see [DeliveryStatus].
// The document is cut to what the Broker can take.
func WriteDelivery(w http.ResponseWriter, r *http.Request, err error) {
	write(w, r, err, answer(w, err, DeliveryStatus(err)).within(maxDelivery))
}

// within shortens the document until it has at most so many bytes as JSON: the
// last bad fields go first, then the ends of the longest texts.
func (p Problem) within(most int) Problem {
	p.Errors = slices.Clone(p.Errors)
	for p.size() > most && len(p.Errors) > 1 {
		p.Errors = p.Errors[:len(p.Errors)-1]
	}
	texts := []*string{&p.Detail}
	if len(p.Errors) > 0 {
		field := &p.Errors[0]
		texts = append(texts, &field.Detail, &field.Pointer, &field.Parameter)
	}
	for over := p.size() - most; over > 0; over = p.size() - most {
		text := slices.MaxFunc(texts, func(a, b *string) int { return len(*a) - len(*b) })
		if *text == "" {
			break
		}
		// JSON may write 6 bytes for one.
		*text = strings.ToValidUTF8((*text)[:max(0, len(*text)-max(1, over/6))], "")
	}
	return p
}

// size is that of the document as write encodes it.
func (p Problem) size() int {
	var encoded bytes.Buffer
	if err := json.NewEncoder(&encoded).Encode(p); err != nil {
		return 0 // a struct of texts and a number can be encoded
	}
	return encoded.Len()
}
