//! Writes the edges of a result as a graph that other programs open: GraphML, or JSON of nodes and links.
//!
//! GraphML is read by Gephi, Cytoscape, yEd and networkx (`read_graphml`), and the JSON by networkx (`node_link_graph`,
//! with `edges="links"`) and D3. Both hold every edge with all its numbers, so that a reader selects by them.

use std::path::Path;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};
use resolvent_field::{Array, Labelled, Prompts};
use serde_json::{Map, Value, json};

use crate::circuits::{Edges, Node};
use crate::{Error, Result};

enum Format {
    GraphMl,
    Json,
}

fn format_of(path: &Path) -> Result<Format> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("graphml") => Ok(Format::GraphMl),
        Some("json") => Ok(Format::Json),
        _ => Err(Error::Ending { path: path.to_owned(), what: "a graph", endings: ".graphml or .json" }),
    }
}

/// Checks that a graph can be written to `path`, before the work is done.
///
/// # Errors
/// The ending is neither `.graphml` nor `.json`, or the directory is missing or not writable.
pub fn check_graph_path(path: &Path) -> Result<()> {
    format_of(path)?;
    Ok(resolvent_field::check_writable(path)?)
}

/// Writes the edges of a result of `edges` or `circuit` as `.graphml` or `.json`, by the ending. Of effects over many
/// prompts, these are the means.
///
/// Nodes are the embedding, heads, MLPs and the logits. Each edge has its `port` (`q`, `k` or `v` where it enters a
/// head, else empty) and every array of the result that has one number an edge. Edges without any effect are left out.
///
/// # Errors
/// As [`check_graph_path`], a result without edges, or a full disk.
pub fn write_graph(result: &Labelled, path: &Path) -> Result<()> {
    let averaged = result.array("edges.mean").map(|_| Prompts::averaged(result));
    let graph = GraphData::of(averaged.as_ref().unwrap_or(result)).ok_or(Error::NoEdges)?;
    let bytes = match format_of(path)? {
        Format::GraphMl => graph.graphml().map_err(|e| Error::Graph(e.to_string()))?,
        Format::Json => graph.json().to_string().into_bytes(),
    };
    Ok(resolvent_field::write_whole(path, &bytes)?)
}

/// The nodes, the edges and their numbers.
struct GraphData<'a> {
    result: &'a Labelled,
    edges: Edges<'a>,
    nodes: Vec<Node<'a>>,
    /// The edges that have an effect.
    shown: Vec<usize>,
    numbers: Vec<&'a Array>,
}

impl<'a> GraphData<'a> {
    fn of(result: &'a Labelled) -> Option<Self> {
        let edges = Edges::of(result)?;
        let has_one_an_edge = |array: &&Array| matches!(&array.axes[..], [axis] if axis.0 == "edge");
        let numbers: Vec<&Array> = result.arrays.iter().filter(has_one_an_edge).collect();
        let shown = edges.strongest(usize::MAX);
        let nodes = edges.nodes(&shown);
        Some(Self { result, edges, nodes, shown, numbers })
    }

    fn json(&self) -> Value {
        let node = |node: &Node<'_>| {
            let mut of = json!({ "id": node.id(), "kind": node.kind() });
            if let Some(block) = node.block() {
                of["block"] = block.into();
            }
            if let Some(head) = node.head() {
                of["head"] = head.into();
            }
            of
        };
        let link = |&edge: &usize| {
            let (reader, port) = self.edges.reader(edge);
            let mut of = Map::new();
            of.insert("source".to_owned(), self.edges.writer(edge).name.into());
            of.insert("target".to_owned(), reader.id().into());
            of.insert("key".to_owned(), port.into());
            let numbers = self.numbers.iter().map(|array| (array.name.to_owned(), array.data[edge].into()));
            of.extend(numbers);
            Value::Object(of)
        };
        json!({
            "directed": true,
            "multigraph": true,
            "graph": self.result.metadata,
            "nodes": self.nodes.iter().map(node).collect::<Vec<_>>(),
            "links": self.shown.iter().map(link).collect::<Vec<_>>(),
        })
    }

    fn graphml(&self) -> std::io::Result<Vec<u8>> {
        let mut xml = Writer::new_with_indent(Vec::new(), b' ', 1);
        xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
        let root = xml.create_element("graphml").with_attribute(("xmlns", "http://graphml.graphdrawing.org/xmlns"));
        root.write_inner_content(|xml| {
            self.result.metadata.keys().try_for_each(|name| key(xml, name, "graph", "string"))?;
            let of_node = [("kind", "string"), ("block", "int"), ("head", "int")];
            of_node.iter().try_for_each(|(name, kind)| key(xml, name, "node", kind))?;
            key(xml, "port", "edge", "string")?;
            self.numbers.iter().try_for_each(|array| key(xml, array.name, "edge", "double"))?;
            let graph = xml.create_element("graph").with_attribute(("edgedefault", "directed"));
            graph.write_inner_content(|xml| {
                self.result.metadata.iter().try_for_each(|(name, value)| data(xml, "graph", name, value))?;
                self.nodes.iter().try_for_each(|node| write_node(xml, node))?;
                self.shown.iter().try_for_each(|&edge| self.write_edge(xml, edge))
            })?;
            Ok(())
        })?;
        Ok(xml.into_inner())
    }

    fn write_edge(&self, xml: &mut Writer<Vec<u8>>, edge: usize) -> std::io::Result<()> {
        let (reader, port) = self.edges.reader(edge);
        let (source, target) = (self.edges.writer(edge).name, reader.id());
        let ends = [("source", source), ("target", target.as_str())];
        xml.create_element("edge").with_attributes(ends).write_inner_content(|xml| {
            data(xml, "edge", "port", port)?;
            self.numbers.iter().try_for_each(|array| data(xml, "edge", array.name, &array.data[edge].to_string()))
        })?;
        Ok(())
    }
}

fn write_node(xml: &mut Writer<Vec<u8>>, node: &Node<'_>) -> std::io::Result<()> {
    xml.create_element("node").with_attribute(("id", node.id().as_str())).write_inner_content(|xml| {
        data(xml, "node", "kind", node.kind())?;
        let places = [("block", node.block()), ("head", node.head())];
        let known = places.iter().filter_map(|(name, at)| Some((name, (*at)?)));
        known.into_iter().try_for_each(|(name, at)| data(xml, "node", name, &at.to_string()))
    })?;
    Ok(())
}

/// Declares `name` for nodes, edges or the graph. Ids are unique in the file, names only among those of one kind.
fn key(xml: &mut Writer<Vec<u8>>, name: &str, of: &str, kind: &str) -> std::io::Result<()> {
    let id = format!("{of}.{name}");
    let attributes = [("id", id.as_str()), ("for", of), ("attr.name", name), ("attr.type", kind)];
    xml.create_element("key").with_attributes(attributes).write_empty()?;
    Ok(())
}

/// Writes `<data key="OF.NAME">VALUE</data>`.
fn data(xml: &mut Writer<Vec<u8>>, of: &str, name: &str, value: &str) -> std::io::Result<()> {
    let id = format!("{of}.{name}");
    xml.create_element("data").with_attribute(("key", id.as_str())).write_text_content(BytesText::new(value))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::circuits::tests::edges;

    fn written(ending: &str) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(format!("graph.{ending}"));
        check_graph_path(&path).expect("fits");
        write_graph(&edges().note("observable", "a < b & \"c\""), &path).expect("writes");
        std::fs::read_to_string(&path).expect("text")
    }

    #[test]
    fn graphml_has_all_edges_with_an_effect_and_their_numbers() {
        let text = written("graphml");
        let xml = roxmltree::Document::parse(&text).expect("XML");
        let all = |name: &str| xml.descendants().filter(|n| n.has_tag_name(name)).collect::<Vec<_>>();
        let ids: Vec<&str> = all("node").iter().filter_map(|n| n.attribute("id")).collect();
        assert_eq!(ids, ["input", "a0.h0", "m0", "logits"]);
        let facts: Vec<Vec<&str>> =
            all("edge").iter().map(|e| e.children().filter_map(|d| d.text()).map(str::trim).collect()).collect();
        let facts: Vec<String> =
            facts.into_iter().map(|f| f.into_iter().filter(|t| !t.is_empty()).collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(facts, ["1 2", "-2.25 -1.5", "v 0.5 0.25"]);
        let observable = all("data").into_iter().find(|d| d.attribute("key") == Some("graph.observable"));
        assert_eq!(observable.and_then(|d| d.text()), Some("a < b & \"c\""));
        let declared: Vec<&str> = all("key").iter().filter_map(|k| k.attribute("id")).collect();
        assert!(all("data").iter().all(|d| d.attribute("key").is_some_and(|key| declared.contains(&key))), "{text}");
    }

    #[test]
    fn json_is_a_node_link_graph() {
        let graph: Value = serde_json::from_str(&written("json")).expect("JSON");
        assert_eq!(graph["nodes"][1], json!({ "id": "a0.h0", "kind": "head", "block": 0, "head": 0 }));
        let want = json!({ "source": "input", "target": "a0.h0", "key": "v", "first_order": 0.5, "exact": 0.25 });
        assert_eq!(graph["links"][2], want);
        assert_eq!(graph["links"].as_array().map(Vec::len), Some(3));
    }

    #[test]
    fn what_cannot_be_written_is_an_error() {
        let error = check_graph_path(Path::new("graph.dot")).expect_err("an unknown ending").to_string();
        assert!(error.contains(".graphml or .json"), "{error}");
        let error = write_graph(&Labelled::default(), Path::new("graph.json")).expect_err("no edges").to_string();
        assert!(error.contains("no edges"), "{error}");
    }
}
