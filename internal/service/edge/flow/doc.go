// Package flow is what agents run: processors, connections between them and what belongs to
// these, as people edit them, check them and send them out.
//
// A Flow belongs to an agent class. Its root process group holds processors, connections,
// controller services, funnels, ports, remote process groups and further groups; beside it
// are parameter contexts. All of them are components: they have an id, a UUID that is unique
// in the flow, and a revision, which counts their changes. The names of members in the text
// of a flow are those of NiFi's versioned flows.
//
// A Flow never changes: Apply returns another one, which shares what is alike. Whoever makes
// a Flow by hand must not touch it, nor what it points to, once it is given to this package.
// Marshal writes one text for one flow, whatever the order its parts were made in, so that
// the text can be kept in git; Unmarshal takes no member it does not know.
//
// A structure that makes no sense cannot be had: no connection leads to nothing or into the
// inside of another group, and no id is there twice. All that an agent's kind decides is for
// Validate, which looks at a manifest and finds everything that is wrong at once.
//
// Properties refer to parameters as #{name}; ##{name} is the text #{name}, and each further
// pair of hashes stands for one. A group without a context has its parent's. The value of a
// parameter is the agent's, else the class's, else the flow's; RenderJSON and RenderYAML put
// it in for one agent, and what goes out has no parameters left. ExportJSON and ExportYAML
// keep parameters, and what ParseJSON and ParseYAML make of an export exports alike.
//
// Values of sensitive parameters and properties are in a Flow and its text as they are. Seal
// what is stored; Redact what is shown.
package flow
