package manifest

import "strings"

// secretAnnotation says on an object which Secret of its namespace must be there
// before it, where the object's own fields are not looked at: NAME KEY…
const secretAnnotation = "graf.dev/requires-secret" //nolint:gosec // a name, not a credential

// RequiredSecret is a Secret with the keys that are read of it.
type RequiredSecret struct {
	Name string
	Keys []string
}

// RequiredSecrets are the Secrets that an object needs: those that its containers'
// variables come from, and the one that its annotation graf.dev/requires-secret names.
func RequiredSecrets(o Object) []RequiredSecret {
	var all []RequiredSecret
	if words := strings.Fields(text(o.At("metadata", "annotations", secretAnnotation))); len(words) > 1 {
		all = append(all, RequiredSecret{Name: words[0], Keys: words[1:]})
	}
	containers, _ := o.At("spec", "template", "spec", "containers").([]any)
	for _, c := range containers {
		fields, _ := c.(map[string]any)
		variables, _ := fields["env"].([]any)
		for _, v := range variables {
			variable, _ := v.(map[string]any)
			from := Object(variable)
			if name := text(from.At("valueFrom", "secretKeyRef", "name")); name != "" {
				all = append(all, RequiredSecret{Name: name, Keys: []string{text(from.At("valueFrom", "secretKeyRef", "key"))}})
			}
		}
	}
	return all
}
