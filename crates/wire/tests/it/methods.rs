//! The method table against the compiled service.

use prost::Message;

use crate::types::POOL;

macro_rules! rows {
    ($($name:ident, $function:ident, $request:ty, $response:ty, $kind:ident;)*) => {
        vec![$({
            // The types exist and are messages; their names follow from the paths.
            assert!(<$request>::default().encode_to_vec().is_empty());
            assert!(<$response>::default().encode_to_vec().is_empty());
            [stringify!($name), stringify!($function), last(stringify!($request)), last(stringify!($response)), stringify!($kind)]
        }),*]
    };
}

fn last(path: &'static str) -> &'static str {
    path.rsplit("::").next().unwrap().trim()
}

#[test]
fn the_table_is_the_service() {
    let service = POOL.get_service_by_name("macp.v1.MACPRuntimeService").unwrap();
    let rows: Vec<[&str; 5]> = macp_wire::for_each_method!(rows);
    assert_eq!(rows.len(), 27);
    assert_eq!(service.methods().len(), rows.len());
    for (method, [name, function, request, response, kind]) in service.methods().zip(rows) {
        assert_eq!(method.name(), name);
        assert_eq!(function.replace('_', ""), name.to_lowercase());
        assert_eq!(method.input().name(), request);
        assert_eq!(method.output().name(), response);
        let expected = match (method.is_client_streaming(), method.is_server_streaming()) {
            (false, false) => "unary",
            (false, true) => "server_stream",
            (true, true) => "bidi",
            (true, false) => unreachable!("{name} has a shape of its own"),
        };
        assert_eq!(kind, expected, "{name}");
    }
}
