"""resources_xml"""
